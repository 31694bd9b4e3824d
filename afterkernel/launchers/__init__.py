"""Launchers: where the jobs of a sweep run. Each launcher is one file."""
