"""Training: SGD by Lightning, stops, snapshots. Independent of kernels and SVMs."""

from afterkernel.training import lazy_torchmetrics

# Before any module of this package imports Lightning.
lazy_torchmetrics.install()
