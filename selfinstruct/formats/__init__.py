"""Dataset families: one file each, reader and writer together."""
