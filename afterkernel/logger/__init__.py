"""Mirrors of a run outside the store."""
