"""Instructions and instances out of seed tasks: prompts, filters, scheduler."""
