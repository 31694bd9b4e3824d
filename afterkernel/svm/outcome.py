"""How the fit of a hard-margin SVM ended."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """Whether the training data are separable, and whether the answer converged, as the certificate shows.

    `separable` is None where the precision of K leaves it open. `converged` means a duality gap of at most the
    backend's `tol`: that of the hard margin, or where there is none that of the soft-margin SVM which `exact` gives
    instead. Other backends have no answer there that could converge. `label` is a few words, `message` one sentence.
    """

    separable: bool | None
    converged: bool
    label: str
    message: str

    CONVERGED = True, True, "converged", "the hard margin was found"
    NOT_CONVERGED = True, False, "not converged", "the training data are separable, but the SVM did not converge"
    BELOW_ROUNDING = (
        True,
        True,
        "separable by less than rounding",
        "the training data are separable, but by less than the rounding of the kernel: the SVM has a soft margin",
    )
    NOT_SEPARABLE = (
        False,
        True,
        "not separable",
        "the training data are not separable by this kernel: there is no hard margin",
    )
    NOT_SEPARABLE_NOT_CONVERGED = False, False, "not separable, not converged", NOT_SEPARABLE[3]
    UNDETERMINED = (
        None,
        True,
        "undetermined",
        "whether the training data are separable by this kernel is undetermined",
    )
    UNDETERMINED_NOT_CONVERGED = None, False, "undetermined, not converged", UNDETERMINED[3]

    def __init__(self, separable: bool | None, converged: bool, label: str, message: str) -> None:
        self.separable, self.converged, self.label, self.message = separable, converged, label, message

    @classmethod
    def of(cls, separable: bool | None, converged: bool, soft: bool) -> Outcome:
        """The outcome of these facts; `soft` says whether the answer is a soft-margin SVM."""
        if separable and converged and soft:
            return cls.BELOW_ROUNDING
        return next(each for each in cls if (each.separable, each.converged) == (separable, converged))
