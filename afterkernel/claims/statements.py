"""The twelve statements of the paper's abstract (P. M. Long, arXiv 2105.10585), on which the parts of claims bear."""

from __future__ import annotations

STATEMENTS = {
    "S1": "For some pairs of data and network, after a few epochs a hard-margin SVM on the after kernel is much more "
    "accurate than one on the NTK.",
    "S2": "For networks like VGG the after kernel is more global than the NTK.",
    "S3": "For fully connected networks the after kernel is less global than the NTK.",
    "S4": "The after kernel tends to be more invariant to small shifts.",
    "S5": "The after kernel tends to be more invariant to small rotations.",
    "S6": "The after kernel tends to be more invariant to small zooms.",
    "S7": "Data augmentation does not improve these invariances.",
    "S8": "The conjugate kernel is sometimes, but not always, a good approximation of the NTK.",
    "S9": "The conjugate kernel is sometimes, but not always, a good approximation of the after kernel.",
    "S10": "At constant training error, a larger learning rate gives a better after kernel: a lower SVM test error.",
    "S11": "At constant training error, a larger learning rate tends to give a more global after kernel.",
    "S12": "At constant training error, a larger learning rate tends to give an after kernel that is more invariant to "
    "small shifts, rotations and zooms.",
}
