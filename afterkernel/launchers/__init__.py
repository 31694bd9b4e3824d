"""Launchers: where the jobs of a sweep run, one engine per file."""
