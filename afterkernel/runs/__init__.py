"""One run: its state, its files, and who works on it."""
