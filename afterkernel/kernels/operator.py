"""The NTK as a linear operator: products with vectors, without the matrix.

With J(x) the Jacobian of the outputs for x in the parameters, K v = J(x) (J(y)^T v): one backward pass over y, which
gives a vector in parameter space, and one derivative of the outputs for x along it. Both run batch by batch.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from afterkernel.errors import UserError
from afterkernel.kernels.calls import batches_of, blamed_on, network_embedding
from afterkernel.kernels.computation import slices
from afterkernel.kernels.gram import paired_products
from afterkernel.kernels.inputs import check_options
from afterkernel.kernels.numeric import coarsest_dtype, dense
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES
from afterkernel.kernels.precision import exact_products, precision
from afterkernel.kernels.sample_sources import Inputs
from afterkernel.kernels.samples import Batch, Forward, placed
from afterkernel.kernels.trained import Choice
from afterkernel.kernels.verify import COARSE_TOLERANCE, TOLERANCE
from afterkernel.text import a_kind
from afterkernel.types import Float, Tensor

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

# Without types in torch.
make_dual: Any = forward_ad.make_dual
unpack_dual: Any = forward_ad.unpack_dual
# Samples that the engine collects with its checks, such as that they do not depend on each other.
CHECKED_SAMPLES = 64
# Of these, how many are differentiated in both directions to begin with, along how many vectors.
PROBE_SAMPLES, DRAWS = 3, 3
# Vectors in parameter space that a product holds: the one in the making, its summand, and room for a copy.
PARAMETER_VECTORS = 3


def ntk_operator(  # noqa: PLR0913 (public, all but three by name)
    model: nn.Module,
    x: Inputs,
    y: Inputs | None = None,
    *,
    forward: Forward | None = None,
    output: int | str | None = None,
    parameters: Choice | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
) -> NTKOperator:
    """The neural tangent kernel of a model as a linear operator, whose matrix is never formed.

    Arguments are those of `ntk`; dtype is float32 or float64. Some 64 samples
    are first collected as by `ntk`, with all its checks.

    Returns:
        An `NTKOperator` of shape (n, m); for output="full" with c outputs (n c, m c), where rows and columns are
        sample by sample, as in `ntk(..., output="full").permute(0, 2, 1, 3).reshape(n * c, m * c)`.

    Raises:
        UserError: as `ntk`; output="diagonal"; a model of which torch has neither forward-mode nor second derivatives;
            a budget below three vectors of the parameters' size.
    """
    check_options(budget_bytes)
    if precision(dtype).name not in ("float32", "float64"):
        raise UserError(f"dtype={precision(dtype).name} is not of single products: give float32 or float64.")
    if output == "diagonal":
        raise UserError('output="diagonal" is several operators: make one for each output, by its number.')
    inputs = batches_of(model, x, y, forward)
    phi = network_embedding("ntk", model, inputs, dtype, device, output=output, parameters=parameters)
    with blamed_on(inputs):
        jacobian = Jacobian(model, phi, inputs["x"], budget_bytes)
    return NTKOperator(jacobian, inputs["x"], inputs.get("y", inputs["x"]))


class Jacobian:
    """Products with the Jacobian of a network's outputs in its trained parameters, batch by batch.

    `phi` is the network's embedding, which checks the network on samples of x.
    """

    def __init__(self, model: nn.Module, phi: Any, x: Batch, budget_bytes: int) -> None:
        self._user = model
        self._versions = _versions(model)
        self.device: torch.device = phi.device
        self.dtype: torch.dtype = phi.dtype
        self.which = phi.output.which
        self._select, self._working = phi.output.select, phi.model
        few = x[:: max(1, len(x) // CHECKED_SAMPLES)] if len(x) > CHECKED_SAMPLES else x
        paired_products(phi, few, few, budget_bytes=budget_bytes)  # with all checks of the engine
        self.outputs: int = phi.layout.outputs
        self.samples_at_once: int = phi.samples_at_once
        self._trained = {name: v for name, v in self._working.named_parameters() if v.requires_grad and v.numel()}
        if any(value.is_complex() for value in self._trained.values()):
            raise UserError("ntk_operator has no products with complex parameters: use ntk.")
        numbers = sum(value.numel() for value in self._trained.values())
        vector = numbers * next(iter(self._trained.values())).element_size()
        if budget_bytes < PARAMETER_VECTORS * vector:
            raise UserError(
                f"budget_bytes={budget_bytes} is too small: a product holds {PARAMETER_VECTORS} vectors of the "
                f"{numbers} parameters, {PARAMETER_VECTORS * vector} bytes."
            )
        self.columns_at_once = max(1, budget_bytes // (2 * PARAMETER_VECTORS * vector))
        self._forward_mode = True
        self._settle(few[:PROBE_SAMPLES])

    @torch.inference_mode(False)
    def _settle(self, probe: Batch) -> None:
        """Choose a way to differentiate that gives the transpose of J^T, which is autograd's own gradient."""
        failures = []
        for forward_mode in (True, False):
            self._forward_mode = forward_mode
            try:
                with exact_products():
                    if self._transposes(probe):
                        return
            except (RuntimeError, NotImplementedError) as error:
                failures.append(str(error).partition("\n")[0])
                continue
            failures.append("its derivatives of the outputs do not fit its gradients")
        raise UserError(
            f"the model has no products with its Jacobian ({'; '.join(dict.fromkeys(failures))}): use ntk, which needs "
            "only first derivatives."
        )

    def _transposes(self, x: Batch) -> bool:
        """Whether <J w, u> = <w, J^T u> for a random u, with w = J^T u, the parameters' signs at random."""
        generator = torch.Generator().manual_seed(0)
        u = (0.5 + torch.rand(len(x), self.outputs, 1, generator=generator)).to(self.device, self.dtype)
        gradient = self.backward(x, u)[0]
        squares = {name: part.double().square().sum().item() for name, part in gradient.items()}
        with torch.enable_grad():
            limit = TOLERANCE.get(coarsest_dtype(self._outputs(self._placed(x))), COARSE_TOLERANCE)
        for _ in range(DRAWS):
            draw = torch.randint(0, 2, (len(squares),), generator=generator).tolist()
            signs = dict(zip(squares, (2 * sign - 1 for sign in draw), strict=True))
            along = {name: part * signs[name] for name, part in gradient.items()}
            found = (self.forward(x, [along]) * u).double().sum().item()
            expected = sum(signs[name] * square for name, square in squares.items())
            if not abs(found - expected) <= limit * sum(squares.values()):
                return False
        return True

    def backward(self, x: Batch, vectors: Float[Tensor, "n k c"]) -> list[dict[str, Tensor]]:
        """J(x)^T v for each of c columns v, as vectors by the parameters' names."""
        columns = range(vectors.shape[2])
        sums = [{name: torch.zeros_like(value) for name, value in self._trained.items()} for _ in columns]
        with _differentiable():
            for part in slices(0, len(x), self.samples_at_once):
                outputs = self._outputs(self._placed(x[part]))
                for column in columns:
                    grads = torch.autograd.grad(
                        outputs,
                        list(self._trained.values()),
                        vectors[part, :, column],
                        retain_graph=column + 1 < len(columns),
                        allow_unused=True,
                    )
                    for total, grad in zip(sums[column].values(), grads, strict=True):
                        if grad is not None:
                            total += dense(grad)
        return sums

    def forward(self, x: Batch, vectors: list[dict[str, Tensor]]) -> Float[Tensor, "n k c"]:
        """J(x) w for each w of `vectors`."""
        found = torch.empty(len(x), self.outputs, len(vectors), dtype=self.dtype, device=self.device)
        with _differentiable():
            for part in slices(0, len(x), self.samples_at_once):
                here = self._placed(x[part])
                if self._forward_mode:
                    for column, vector in enumerate(vectors):
                        found[part, :, column] = self._along(here, vector)
                else:
                    self._along_all(here, vectors, found[part])
        return found

    def _along(self, x: Batch, vector: dict[str, Tensor]) -> Float[Tensor, "n k"]:
        """By forward-mode differentiation. The parameters keep their gradients, as modules take other paths without."""
        with forward_ad.dual_level():
            duals = {name: make_dual(value, vector[name]) for name, value in self._trained.items()}
            outputs = self._select(functional_call(self._working, duals, (x,)), len(x))
            tangent = unpack_dual(outputs).tangent
            return torch.zeros_like(outputs) if tangent is None else tangent.detach()

    def _along_all(self, x: Batch, vectors: list[dict[str, Tensor]], out: Float[Tensor, "n k c"]) -> None:
        """By differentiating v -> J^T v, which is linear in v, along w."""
        outputs = self._outputs(x)
        dummy = torch.zeros_like(outputs, requires_grad=True)
        parameters = list(self._trained.values())
        grads = torch.autograd.grad(outputs, parameters, dummy, create_graph=True, allow_unused=True)
        used = [i for i, grad in enumerate(grads) if grad is not None and grad.requires_grad]
        for column, vector in enumerate(vectors):
            along = list(vector.values())
            (products,) = torch.autograd.grad(
                [grads[i] for i in used], dummy, [along[i] for i in used], retain_graph=True, materialize_grads=True
            )
            out[:, :, column] = products

    def _outputs(self, x: Batch) -> Float[Tensor, "n k"]:
        outputs: Tensor = self._select(self._working(x), len(x))
        if outputs.shape[1] != self.outputs:
            raise UserError(f"the model gives {outputs.shape[1]} outputs for a sample, and {self.outputs} at first.")
        return outputs

    def _placed(self, x: Batch) -> Batch:
        here: Batch = tree_map(lambda leaf: placed(leaf, self.device, self.dtype), x)
        return here

    def check_unchanged(self) -> None:
        """Raise UserError where the model's parameters were changed since."""
        if _versions(self._user) != self._versions:
            raise UserError("the model's parameters have changed since ntk_operator was called: call it again.")


class NTKOperator:
    """K = J(x) J(y)^T as a linear operator; made by `ntk_operator`.

    `operator @ v` and `operator(v)` are products with v (m,) or (m, c), a tensor or a numpy array, and give the same
    kind; `operator.T` is the transposed operator. `shape`, `dtype` and `device` are those of the matrix; `to_scipy()`
    gives it to scipy's solvers. Each product costs about as much as three passes of backpropagation over x and y for
    every column. Raises UserError for vectors of another length or with numbers that are not finite, for gradients that
    are not finite, and where the model has changed.
    """

    def __init__(self, jacobian: Jacobian, x: Batch, y: Batch) -> None:
        self._jacobian, self._x, self._y = jacobian, x, y
        self._rows = jacobian.outputs if jacobian.which == "full" else 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self._x) * self._rows, len(self._y) * self._rows

    @property
    def dtype(self) -> torch.dtype:
        """In which products are computed."""
        return self._jacobian.dtype

    @property
    def device(self) -> torch.device:
        """Where products are computed."""
        return self._jacobian.device

    @property
    def T(self) -> NTKOperator:  # noqa: N802 (as a tensor's)
        """The transposed operator."""
        return NTKOperator(self._jacobian, self._y, self._x)

    @property
    def adjoint(self) -> NTKOperator:
        """The transposed operator, as K is real."""
        return self.T

    def __matmul__(self, v: Any) -> Any:
        return self(v)

    def __call__(self, v: Any) -> Any:
        """K v."""
        if isinstance(v, np.ndarray):
            return self._product(torch.from_numpy(np.array(v))).cpu().numpy()
        if not isinstance(v, Tensor):
            raise UserError(f"v is {a_kind(v)}: give a tensor or a numpy array.")
        return self._product(v)

    def to_scipy(self) -> LinearOperator:
        """The operator for scipy.sparse.linalg: eigsh, svds, cg and others."""
        from scipy.sparse.linalg import LinearOperator

        kind = np.dtype(str(self.dtype).removeprefix("torch."))
        return LinearOperator(self.shape, matvec=self, rmatvec=self.T, matmat=self, rmatmat=self.T, dtype=kind)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _product(self, v: Tensor) -> Tensor:
        if v.ndim not in (1, 2) or len(v) != self.shape[1]:
            raise UserError(f"v has shape {tuple(v.shape)}: give ({self.shape[1]},) or ({self.shape[1]}, c).")
        if v.is_complex() or not bool(torch.isfinite(v).all()):
            raise UserError("v holds numbers that are not real and finite.")
        self._jacobian.check_unchanged()
        matrix = v.detach().to(self.device, self.dtype).reshape(len(v), -1)
        with exact_products():
            parts = torch.split(matrix, self._jacobian.columns_at_once, dim=1)
            found = torch.cat([self._columns(part) for part in parts], dim=1)
        if not bool(torch.isfinite(found).all()):
            raise UserError(f"a product is not finite in {self.dtype}: check the model's gradients, or give float64.")
        return found.reshape(self.shape[0], *v.shape[1:])

    def _columns(self, v: Float[Tensor, "mk c"]) -> Float[Tensor, "nk c"]:
        jacobian, k = self._jacobian, self._jacobian.outputs
        if self._rows == k:  # one output, or every pair of them
            vectors = jacobian.backward(self._y, v.reshape(len(self._y), k, -1))
            return jacobian.forward(self._x, vectors).reshape(self.shape[0], -1)
        total = torch.zeros(self.shape[0], v.shape[1], dtype=self.dtype, device=self.device)
        for output in range(k):
            one = v.new_zeros(len(v), k, v.shape[1])
            one[:, output] = v
            total += jacobian.forward(self._x, jacobian.backward(self._y, one))[:, output]
        return total


def _versions(model: nn.Module) -> list[tuple[int, int]]:
    return [(id(value), value._version) for value in model.parameters() if not value.is_inference()]


@contextlib.contextmanager
def _differentiable() -> Iterator[None]:
    """Gradients, with the attention that can be differentiated in forward mode and twice."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # torch itself compiles some derivatives by it when they are first used.
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        yield
