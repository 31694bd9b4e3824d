"""Weights & Biases: one W&B run per run, offline by default."""
