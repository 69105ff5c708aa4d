"""The steps of `gpu_night.py`."""
