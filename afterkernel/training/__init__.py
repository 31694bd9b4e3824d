"""Training: SGD by Lightning, stops, snapshots. Independent of kernels and SVMs."""
