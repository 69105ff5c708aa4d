"""A run on disk: its directory, its journal, and the state that the journal records."""
