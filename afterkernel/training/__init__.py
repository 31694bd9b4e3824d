"""Training: SGD by Lightning, stops, snapshots. Knows nothing of kernels or SVMs."""
