"""Grow an instruction-tuning dataset from a few seed tasks, tune a model on it, and measure whether it helped."""

__version__ = "0.1.0"
