"""The pivoted Cholesky factor of a kernel matrix, computed once per fit and shared by all who need coordinates."""

from __future__ import annotations

import math

import numpy as np
import torch

from afterkernel.progress.work import report
from afterkernel.svm.signed_gram import PRECISION, SignedGram
from afterkernel.svm.threads import one_blas_thread
from afterkernel.types import Float, Tensor

AT_ONCE_UP_TO = 500  # samples up to which LAPACK computes all columns
COLUMNS_AT_ONCE = 64  # columns of the factor that are allocated together


class PivotedFactor:
    """G (n, r) with G G' = k, k_ij = K_ij / (d_i d_j), d_i = sqrt(K_ii), grown until it leaves out little enough.

    Cholesky factorisation with complete pivoting: reads r rows of K. What r columns leave out is positive semi-definite
    where K is, so that its largest diagonal entry bounds all others. Source: H. Harbrecht, M. Peters and R. Schneider,
    "On the low-rank approximation by the pivoted Cholesky decomposition", Applied Numerical Mathematics 62 (2012).
    The first columns are the factor at a coarser tolerance. Memory, on the CPU: n x r float64, in blocks of 64 columns.
    """

    def __init__(self, gram: SignedGram) -> None:
        self.K, self.n = gram.K, gram.n
        lengths = torch.where(gram.norms > 0, gram.norms, 1.0).cpu()
        self.lengths = lengths  # d_i relative to the largest, 1 where that is 0
        self._rows = None if self.K.is_cuda else self.K.numpy()
        self._scale, self._weights = gram.scale, 1 / (gram.scale * lengths.numpy())
        self._rest = (gram.norms > 0).to("cpu", torch.float64).numpy()
        self._open = np.ones(gram.n)
        self._blocks: list[Tensor] = []  # (64, n), a column in each row
        self.pivots: list[int] = []
        self._left: list[float] = []  # the largest diagonal entry that so many columns leave out
        self._below: list[float] = []  # how far below 0 rounding has pushed any other
        self._finest = PRECISION[self.K.dtype]
        self._ended = False  # whether the rest is rounding

    def rank(self, tolerance: float, most: int) -> int | None:
        """How many columns leave out at most `tolerance`, or rounding alone; None if more than `most`."""
        if self._rows is not None and self.n <= AT_ONCE_UP_TO and not self._left:
            self._all_columns(self._rows)
        while not self._ended and not (self._left and self._left[-1] <= tolerance):
            if len(self._left) == len(self.pivots):
                self._left.append(float(self._rest.max()))
                self._below.append(max(0.0, -float(self._rest.min())))
                # where rounding has pushed others below 0, the rest is rounding
                self._ended = self._left[-1] <= 2 * self._below[-1]
            elif len(self.pivots) >= most:
                return None
            else:
                self._grow()
        found = next((r for r, left in enumerate(self._left) if left <= tolerance), len(self.pivots))
        return found if found <= most else None

    def columns(self, rank: int) -> Float[Tensor, "n r"]:
        """The first columns, in memory of their own."""
        whole = torch.empty(self.n, rank, dtype=torch.float64)
        for index, block in enumerate(self._blocks):
            part = whole[:, index * COLUMNS_AT_ONCE : (index + 1) * COLUMNS_AT_ONCE]
            part.copy_(block[: part.shape[1]].T)
        return whole

    def blur(self, rank: int, precision: float) -> float:
        """How far errors of `precision` in k may shift the entries of the faintest of `rank` columns, by their size."""
        return precision / self._left[rank - 1] if rank else 0.0

    def _all_columns(self, K: np.ndarray) -> None:
        """All that are no rounding, by one call of LAPACK in place of several for each."""
        from scipy.linalg.lapack import dpstrf

        report("factor")
        k = K * (self._scale * self._weights)
        k *= self._weights[:, None]
        with one_blas_thread():
            packed, order, rank, _ = dpstrf(k.T, tol=self._finest, lower=1, overwrite_a=1)
        order = order - 1
        L = np.tril(packed[:, :rank])
        rest = np.empty((rank + 1, self.n))
        rest[0], rest[1:] = 1.0, 1.0 - np.cumsum(L.T**2, axis=0)
        rest[:, self._rest[order] == 0] = 0.0
        rest[np.arange(rank + 1)[:, None] > np.arange(self.n)] = 0.0  # taken
        left, below = rest.max(1), np.maximum(-rest.min(1), 0.0)
        ends = np.flatnonzero(left <= 2 * below)
        rank = min(rank, int(ends[0])) if len(ends) else rank
        rows = np.empty((rank, self.n))
        rows[:, order] = L.T[:rank]
        self._blocks = list(torch.split(torch.from_numpy(rows), COLUMNS_AT_ONCE))
        self.pivots, self._left, self._ended = order[:rank].tolist(), left[: rank + 1].tolist(), True

    def _grow(self) -> None:
        rank, p = len(self.pivots), int(self._rest.argmax())
        within = rank % COLUMNS_AT_ONCE
        if within == 0:
            report(f"factor of rank {rank}")
            self._blocks.append(torch.empty(COLUMNS_AT_ONCE, self.n, dtype=torch.float64))
        # NumPy's calls on short vectors cost less than torch's, whose products keep to its number of threads
        row = (self._rows[p] if self._rows is not None else self.K[p].cpu().numpy()) * self._weights
        row *= self._scale * self._weights[p]
        last = len(self._blocks) - 1
        for index, block in enumerate(self._blocks):
            if index < last:
                row -= torch.mv(block.T, block[:, p]).numpy()
            elif within:
                row -= torch.mv(block[:within].T, block[:within, p]).numpy()
        row *= self._open
        row *= 1 / math.sqrt(self._rest[p])
        self._blocks[-1].numpy()[within] = row
        row *= row
        self._rest -= row
        self._rest[p] = self._open[p] = 0.0
        self.pivots.append(p)
