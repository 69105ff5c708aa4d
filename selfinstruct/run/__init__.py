"""A run on disk: its directory, its journal, and what the journal adds up to."""
