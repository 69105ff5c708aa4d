"""Find what would fail before a run begins."""
