"""File formats of datasets: one module each, with its reader and its writer."""
