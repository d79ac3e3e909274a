"""Programs for the check before the run: wrong ones with their reports, and right ones."""
