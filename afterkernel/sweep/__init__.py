"""Sweeps: one run or a grid of runs, composed by Hydra."""
