"""The embedded demo model and its held-out tasks: data alone. `tools/demo_model/` says how they were made."""
