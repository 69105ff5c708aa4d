"""Make a dataset from a run, and remove near-duplicates from any file of instructions."""
