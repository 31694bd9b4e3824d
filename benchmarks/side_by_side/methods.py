"""What is compared: ours, its peers and the limit, by name; how to install a peer that is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
from dataclasses import dataclass

PEERS_INSTALL = "`make bench-peers`, or `pip install -e '.[peers]'` in an environment of its own"
NEURAL_TANGENTS_INSTALL = (
    "in an environment of its own with Python 3.11, `pip install neural-tangents==0.6.5 jax==0.4.23 jaxlib==0.4.23 "
    "'numpy<2'`, then `--nt-python` with the path of its python"
)


@dataclass(frozen=True)
class Method:
    """A way to the Gram matrices.

    module: what must be importable; distribution: its name for pip; holds_gradients: whether the whole matrix of
    gradients lies in memory, so that what does not fit is known beforehand.
    """

    key: str
    label: str
    module: str | None = None
    distribution: str = ""
    install: str = ""
    holds_gradients: bool = False

    @property
    def in_jax(self) -> bool:
        """Whether it runs in the environment of neural-tangents."""
        return self.module == "neural_tangents"


LIMIT = Method("limit", "limit")
OURS = Method("ours", "ours")
PEERS = (
    Method("vmap_grad", "vmap(grad) + matmul", holds_gradients=True),
    Method("tutorial", "torch.func tutorial", holds_gradients=True),
    Method("nngeometry", "nngeometry", "nngeometry", "nngeometry", PEERS_INSTALL),
    Method("asdl_direct", "asdfghjkl direct", "asdl", "asdfghjkl", PEERS_INSTALL),
    Method("asdl_hadamard", "asdfghjkl hadamard", "asdl", "asdfghjkl", PEERS_INSTALL),
    Method("opacus", "Opacus", "opacus", "opacus", PEERS_INSTALL, holds_gradients=True),
    Method("backpack", "BackPACK", "backpack", "backpack-for-pytorch", PEERS_INSTALL, holds_gradients=True),
    Method("laplace", "laplace-torch", "laplace", "laplace-torch", PEERS_INSTALL, holds_gradients=True),
    Method("trak", "TRAK", "trak", "traker", PEERS_INSTALL, holds_gradients=True),
    Method("curvlinops", "curvlinops J @ J.T", "curvlinops", "curvlinops-for-pytorch", PEERS_INSTALL),
    *(
        Method(key, f"neural-tangents {short}", "neural_tangents", "neural-tangents", NEURAL_TANGENTS_INSTALL)
        for key, short in (
            ("jacobian_contraction", "jacobian"),
            ("structured_derivatives", "structured"),
            ("ntk_vector_products", "products"),
        )
    ),
)


def installed(methods: list[Method], nt_python: str | None) -> tuple[list[Method], list[str], dict[str, str]]:
    """The methods that can run here, a line for each that cannot, and the versions of those that can."""
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for method in methods:
        if method.module is None or method.distribution in versions or method.distribution in missing:
            continue
        if method.in_jax:
            found = _neural_tangents(nt_python)
        elif importlib.util.find_spec(method.module):
            found = importlib.metadata.version(method.distribution)
        else:
            found = None
        if found is None:
            missing[method.distribution] = f"{method.distribution} is not installed here and left out: {method.install}"
        else:
            versions[method.distribution] = found
    able = [method for method in methods if method.distribution not in missing]
    return able, list(missing.values()), versions


def _neural_tangents(python: str | None) -> str | None:
    """The versions in the environment of that python; None where neural-tangents does not import."""
    if python is None:
        return None
    script = "import jax, neural_tangents; print(neural_tangents.__version__, 'with jax', jax.__version__)"
    try:
        found = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
