"""Loggers: services and files that get the numbers of a run while it is computed, in addition to its records."""
