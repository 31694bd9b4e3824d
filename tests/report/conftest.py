from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from afterkernel.records import KernelRecord, Record, Resources, write_atomic, write_record


@pytest.fixture
def write_run(tmp_path, run_writer) -> Callable[..., Path]:
    """Write one run below tmp_path."""
    return run_writer(tmp_path)


@pytest.fixture(scope="session")
def run_writer() -> Callable[[Path], Callable[..., Path]]:
    """A function for a folder that writes runs below it."""
    return _writer


def _writer(root: Path) -> Callable[..., Path]:
    """Write one run: `errors` gives the SVM's test error of the NTK's row by epoch; any field may be replaced."""

    def write(
        errors: dict[int, float],
        *,
        arch: str = "vgg",
        rate: float = 0.1,
        seed: int = 0,
        last: int | None = None,
        swap: dict[int, float] | None = None,
        kernels: tuple[str, ...] = ("ntk", "conjugate"),
        training: dict | None = None,
        run_id: str | None = None,
        kernel_fields: dict | None = None,
        provenance: dict | None = None,
        config: dict | None = None,
        losses: tuple[float, ...] = (),
        **fields,
    ) -> Path:
        last = max(errors) if last is None else last
        config = config or {
            "arch": {"name": arch},
            "training": {"epochs": last, "lr": rate, **(training or {})},
            "snapshot": {"epochs": sorted({0, *errors, last}), "losses": [*losses]},
            "seed": seed,
        }
        plain = {
            "run_id": run_id or f"{arch}-{rate}-{seed}-{len(str(training))}",
            "evaluation_id": "eval0",
            "sweep": "demo",
            "dataset": "mnist",
            "minus": "3",
            "plus": "8",
            "n_train": 1000,
            "n_test": 500,
            "net_test_error": 0.0777,
            "train_loss": 0.25,
            **fields,
        }
        run = root / plain["sweep"] / plain["run_id"]
        write_atomic(run / "config.yaml", yaml.safe_dump(config))
        for epoch, error in errors.items():
            made = tuple(
                KernelRecord(
                    **{
                        "kernel": kernel,
                        "svm_backend": "exact",
                        "svm_intercept": False,
                        "svm_test_error": error if kernel == "ntk" else error + 0.01,
                        "svm_train_error": 0.0,
                        "margin": 0.0123,
                        "gap": 2.5e-9,
                        "n_support": 321,
                        "separable": True,
                        "converged": True,
                        "svm_path": "gram",
                        "embedding_norm": 3.0,
                        "shift_invariance": 0.8,
                        "rotation_invariance": 0.7,
                        "zoom_invariance": 0.9,
                        "swap_invariance": (swap or {}).get(epoch, 0.5),
                        "effective_rank": 12.0,
                        "resources": Resources(
                            wall_s_kernel=1.5, wall_s_svm=0.25, wall_s_measures=2.0, peak_bytes=3 * 2**30
                        ),
                        **(kernel_fields or {}),
                    }
                )
                for kernel in kernels
            )
            record = Record(
                **plain,
                arch=arch,
                width=38,
                parameters=95267,
                learning_rate=rate,
                seed=seed,
                epoch=epoch,
                step=10 * epoch,
                final=epoch == last,
                net_train_error=0.1,
                wall_s_train=1.0,
                config_sha256="0" * 64,
                commit="abc123",
                device="cpu",
                kernels=made,
                config=config,
                provenance=provenance or {},
            )
            write_record(run, record, 1)
        return run

    return write
