"""Whether a symmetric matrix is positive semi-definite to rounding, and its nearest positive semi-definite one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from afterkernel.errors import UserError
from afterkernel.svm.signed_gram import PRECISION
from afterkernel.types import Float, Tensor

EXACT_UP_TO = 2000  # samples up to which a Cholesky factorisation decides
PANEL = 64  # rows of the factor that are computed together
STEPS = 30  # of Lanczos beyond that
ROWS_AT_ONCE = 512


def allowed_eigenvalue(K: Float[Tensor, "n n"]) -> float:
    """The lowest eigenvalue that rounding explains.

    Errors of eps = `PRECISION` in the entries, relative to the largest, move it by at most 10 eps up to n = 100 and
    typically by less than sqrt(n) eps beyond; computing it in float64 adds n 1e-15.
    """
    n = len(K)
    relative: float = max(10.0, math.sqrt(n)) * PRECISION[K.dtype] + n * PRECISION[torch.float64]
    return -relative * float(K.diagonal().max())


def negative_eigenvalue(K: Float[Tensor, "n n"]) -> float | None:
    """The smallest eigenvalue where it is below what rounding explains, else None.

    Up to 2,000 samples a Cholesky factorisation decides and the eigenvalue is exact. Beyond, 30 steps of Lanczos
    (C. Lanczos, 1950; fully orthogonalised): the value is that of a vector, x'Kx / x'x, so that K has one at least as
    low, but a small one may be missed. Memory: up to 2,000 samples 4 n^2 bytes for the factor, so at most 16 MB, and
    16 n^2 where it fails; beyond, 30 vectors.
    """
    allowed = allowed_eigenvalue(K)
    if len(K) <= EXACT_UP_TO:
        if _has_factor(K, -allowed):
            return None
        lowest = float(torch.linalg.eigvalsh(K.to(torch.float64))[0])
    else:
        lowest = _lanczos(K, allowed)
    return lowest if lowest < allowed else None


def _has_factor(K: Float[Tensor, "n n"], shift: float) -> bool:
    """Whether K + shift I has a Cholesky factor, which is kept without its zeros, some rows at a time."""
    rows: list[Tensor] = []
    at_once = len(K) if len(K) <= 5 * PANEL else PANEL
    for top in range(0, len(K), at_once):
        panel = K[top : top + at_once, : top + at_once].to(torch.float64, copy=True)
        for index, before in enumerate(rows):
            left = index * at_once
            block = panel[:, left : left + at_once]
            block.addmm_(panel[:, :left], before[:, :left].T, alpha=-1)
            block.copy_(torch.linalg.solve_triangular(before[:, left:], block.T, upper=False).T)
        corner = panel[:, top:]
        corner.addmm_(panel[:, :top], panel[:, :top].T, alpha=-1).diagonal().add_(shift)
        factor, info = torch.linalg.cholesky_ex(corner)
        if int(info) != 0:
            return False
        corner.copy_(factor)
        rows.append(panel)
    return True


def as_formed(K: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """K in the precision that it was formed in: a float64 K all of whose entries are float32 numbers, as float32."""
    if K.dtype == torch.float64:
        single = K.to(torch.float32)
        if torch.equal(single.to(torch.float64), K):
            return single
    return K


def project(K: Float[Tensor, "n n"]) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n"]]:
    """The positive semi-definite matrix nearest to K (Frobenius norm), and the projector P on its range; float64.

    It is P K P: negative eigenvalues become 0 (N. J. Higham, "Computing a nearest symmetric positive semidefinite
    matrix", 1988). About 13 n^3 operations.
    """
    values, vectors = torch.linalg.eigh(K.to(torch.float64))
    kept = vectors[:, values > 0]
    return (kept * values[values > 0]) @ kept.T, kept @ kept.T


def not_definite(eigenvalue: float, K: Float[Tensor, "n n"], cure: str = "") -> UserError:
    """The error for a K with that eigenvalue; `cure` says what else the user may do."""
    single = ", or K as float32 if it was formed in float32" if K.dtype == torch.float64 else ""
    return UserError(
        f"K has the negative eigenvalue {eigenvalue:.3g}, below the {allowed_eigenvalue(K):.1g} that rounding "
        f"explains: a kernel is positive semi-definite. Give a matrix of inner products{single}{cure}."
    )


@dataclass(frozen=True)
class Projection:
    """What was done to a K that is not positive semi-definite: its smallest eigenvalue, and `project`'s projector P."""

    eigenvalue: float
    projector: Float[Tensor, "n n"]


def definite(
    K: Float[Tensor, "n n"], projected: bool = False, cure: str = ""
) -> tuple[Float[Tensor, "n n"], Projection | None]:
    """K, or UserError naming its smallest eigenvalue if that is further below 0 than rounding explains.

    A float64 K that float32 holds exactly may have been formed in float32: if it passes as such, it is given back as
    float32. With `projected`, a K that fails is replaced by the nearest positive semi-definite matrix.
    """
    lowest = negative_eigenvalue(K)
    if lowest is not None and (single := as_formed(K)) is not K:
        lowest = negative_eigenvalue(single)
        K = single if lowest is None else K
    if lowest is None:
        return K, None
    if not projected:
        raise not_definite(lowest, K, cure)
    nearest, projector = project(K)
    return nearest, Projection(lowest, projector)


def _lanczos(K: Float[Tensor, "n n"], allowed: float) -> float:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(K), generator=generator, dtype=torch.float64).to(K.device)
    basis = torch.zeros(STEPS, len(K), dtype=torch.float64, device=K.device)
    T = torch.zeros(STEPS, STEPS, dtype=torch.float64)
    x = x / x.norm()
    size = 0
    for step in range(STEPS):
        basis[step], size = x, step + 1
        x = torch.mv(K, x.to(K.dtype)).to(torch.float64)
        T[step, step] = float(basis[step] @ x)
        for _ in range(2):
            x = x - (basis[:size] @ x) @ basis[:size]
        left = float(x.norm())
        if step + 1 == STEPS or left <= 1e-14 * abs(float(T[0, 0])):
            break
        T[step + 1, step] = T[step, step + 1] = left
        x = x / left
    values, vectors = torch.linalg.eigh(T[:size, :size])
    if float(values[0]) >= allowed:
        return float(values[0])
    lowest = vectors[:, 0].to(K.device) @ basis[:size]
    product = torch.cat([rows.to(torch.float64) @ lowest for rows in torch.split(K, ROWS_AT_ONCE)])
    return float(lowest @ product) / float(lowest @ lowest)
