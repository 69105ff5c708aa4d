"""What a journal can tell without a GPU."""
