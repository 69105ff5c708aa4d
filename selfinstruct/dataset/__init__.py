"""From a run to a dataset."""
