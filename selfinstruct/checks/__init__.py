"""What would fail, found before a run begins."""
