import dataclasses
from collections.abc import Callable

import pytest

from afterkernel.records import KernelRecord, Record, Resources

_RESOURCES = Resources(wall_s_kernel=1.5, wall_s_svm=0.25, wall_s_measures=2.0, peak_bytes=123456789)
_KERNEL = {
    "kernel": "ntk",
    "svm_backend": "exact",
    "svm_intercept": False,
    "svm_test_error": 0.1,
    "svm_train_error": 0.0,
    "margin": 0.01,
    "gap": 1e-9,
    "n_support": 40,
    "separable": True,
    "converged": True,
    "svm_path": "gram",
    "embedding_norm": 3.0,
    "shift_invariance": 0.8,
    "rotation_invariance": 0.7,
    "zoom_invariance": 0.9,
    "swap_invariance": 0.5,
    "effective_rank": 12.0,
    "resources": _RESOURCES,
}
_RECORD = {
    "run_id": "run0",
    "evaluation_id": "eval0",
    "sweep": "demo",
    "dataset": "mnist",
    "minus": "3",
    "plus": "8",
    "n_train": 100,
    "n_test": 50,
    "arch": "vgg",
    "width": 4,
    "parameters": 999,
    "learning_rate": 0.03,
    "seed": 0,
    "epoch": 5,
    "step": 20,
    "final": False,
    "train_loss": 0.4,
    "net_train_error": 0.2,
    "net_test_error": 0.3,
    "wall_s_train": 4.5,
    "config_sha256": "0123456789abcdef" * 4,
    "commit": "abc",
    "device": "cpu (x86_64, 1 threads)",
    "config": {"training": {"epochs": 5}, "snapshot": {"epochs": [0, 1, 5]}},
    "provenance": {"versions": {"torch": "2.9"}},
}


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """A record with any field, of itself or of its kernels, replaced; `kernels` names them."""

    def make(kernels: tuple[str, ...] = ("ntk",), **fields: object) -> Record:
        inner = {field.name for field in dataclasses.fields(KernelRecord)}
        inner = {name: fields.pop(name) for name in list(fields) if name in inner}
        made = tuple(KernelRecord(**{**_KERNEL, **inner, "kernel": kernel}) for kernel in kernels)
        steps = {"step": 4 * fields["epoch"]} if "epoch" in fields else {}
        return Record(**{**_RECORD, **steps, **fields, "kernels": made})

    return make
