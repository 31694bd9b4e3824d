"""Weights & Biases as a mirror of the records: one W&B run per run, offline by default."""
