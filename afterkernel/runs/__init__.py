"""Runs: what one process does with one run's folder."""
