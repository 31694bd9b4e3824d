"""Sweeps: one run or a grid of them, by Hydra."""
