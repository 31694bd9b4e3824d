"""Records as a run makes them, with numbers that differ."""

from afterkernel.records.record import KernelRecord, Record, Resources


def kernel(name="ntk", epoch=0, **changes):
    values = {
        "svm_backend": "exact",
        "svm_intercept": False,
        "svm_test_error": 0.5 / (epoch + 1),
        "svm_train_error": 0.0,
        "margin": 0.25 + epoch,
        "gap": 1e-8,
        "n_support": 10 + epoch,
        "separable": True,
        "converged": True,
        "svm_path": "",
        "embedding_norm": 1.0,
        "shift_invariance": 0.9,
        "rotation_invariance": 0.8,
        "zoom_invariance": 0.7,
        "swap_invariance": 0.6,
        "effective_rank": 3.0,
        "resources": Resources(wall_s_kernel=1.0, wall_s_svm=2.0, wall_s_measures=3.0, peak_bytes=4096),
    }
    return KernelRecord(kernel=name, **(values | changes))


def record(epoch=0, final=False, kernels=None, **changes):
    values = {
        "run_id": "mlp-lr0.1-seed0-abc",
        "evaluation_id": "e",
        "sweep": "tiny",
        "dataset": "digits",
        "minus": "3",
        "plus": "8",
        "n_train": 60,
        "n_test": 30,
        "arch": "mlp",
        "width": 5,
        "parameters": 1500,
        "learning_rate": 0.1,
        "seed": 0,
        "step": 2 * epoch,
        "train_loss": 1.0 / (epoch + 1),
        "net_train_error": 0.1,
        "net_test_error": 0.2,
        "wall_s_train": 1.5,
        "config_sha256": "0" * 64,
        "commit": "abc",
        "device": "cpu",
        "config": {},
        "provenance": {"versions": {"torch": "2"}, "command": "python -m afterkernel output_dir=/secret/place"},
    }
    return Record(epoch=epoch, final=final, kernels=kernels or (kernel(epoch=epoch),), **(values | changes))
