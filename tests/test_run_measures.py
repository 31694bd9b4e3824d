"""Measures in a run: its snapshots are compared with each other, also if it is interrupted and continues."""

import pytest

import afterkernel.runs.evaluate as evaluate_module
from afterkernel.config import compose, to_config
from afterkernel.measures import measure_all
from afterkernel.records import read_records, results
from afterkernel.records.answers import unpack
from afterkernel.records.files import RECORDS
from afterkernel.runs.run import run

OPTIONS = [
    "dataset=digits",
    "measure.crop_fraction=[0.75]",
    "dataset.max_train=60",
    "dataset.max_test=30",
    "arch=mlp",
    "arch.budget=1300",
    "training.epochs=2",
    "snapshot.epochs=[0,1,2]",
    "measure.num_images=10",
    "measure.gram_images=40",
    "measure.per_layer=true",
    "measure.shift_px=[1,2]",
    "logger.wandb.mode=disabled",
]


@pytest.fixture
def measured(monkeypatch):
    """Numbers by epoch, as they were measured."""
    found = {}

    def watched(context):
        found[context.epoch] = measure_all(context)
        return found[context.epoch]

    monkeypatch.setattr(evaluate_module, "measure_all", watched)
    return found


def test_a_run_that_was_cut_off_ends_with_the_same_numbers(tmp_path, measured):
    config = to_config(compose(OPTIONS))
    run(config, tmp_path)
    whole = dict(measured)
    assert set(whole) == {0, 1, 2}
    assert whole[0]["ntk"]["distance_to_initial"] == 0
    assert 0 < whole[1]["ntk"]["distance_to_initial"] < 1
    assert whole[2]["ntk"]["kernel_velocity"] > 0
    assert whole[2]["ntk"]["layers.1/distance_to_initial"] > 0
    assert whole[2]["ntk"]["shift_2px_invariance"] < whole[2]["ntk"]["shift_invariance"]
    frame = results(tmp_path)
    row = frame[(frame["kernel"] == "ntk") & (frame["epoch"] == 2)].iloc[0]
    for name in ("shift_invariance", "rotation_invariance", "zoom_invariance", "swap_invariance", "effective_rank"):
        assert row[name] == whole[2]["ntk"][name]

    # As if the run was interrupted: only the last record is lost, then the sample of the snapshot before it too, and
    # that one is evaluated again.
    for lost, again in (((), {2}), (("step=0002.*.npz",), {1, 2})):
        last = next(record for record in read_records(tmp_path) if record.epoch == 2)
        lost_records = [path for path in (tmp_path / RECORDS).iterdir() if path.name.startswith(f"{last.step}.")]
        for path in lost_records:
            path.unlink()
        for pattern in lost:
            next((tmp_path / "supports").glob(pattern)).write_bytes(b"damaged")
        measured.clear()
        run(config, tmp_path)
        assert measured == {epoch: whole[epoch] for epoch in again}


def test_measures_without_history_keep_nothing(tmp_path, measured):
    run(to_config(compose([*OPTIONS, "measure.names=[spectrum]", "measure.per_layer=false"])), tmp_path)
    assert set(measured[2]["ntk"]) >= {"eigenvalue_1", "decay_exponent", "label_energy_10"}
    assert not list((tmp_path / "supports").glob("*.npz"))
    frame = results(tmp_path)
    assert frame["swap_invariance"].isna().all()
    assert frame["effective_rank"].isna().all()


@pytest.mark.parametrize("dtype", ["float32", "tf32x3"])
def test_records_have_the_precision_of_their_kernels(tmp_path, dtype):
    once = ["training.epochs=1", "snapshot.epochs=[0]", "measure.names=[ridge]", f"kernel.dtype={dtype}"]
    run(to_config(compose([*OPTIONS, *once])), tmp_path)
    frame = results(tmp_path)
    assert set(frame["kernel_dtype"]) == {dtype}
    assert bool((frame["kernel_error"] < 2e-6).all())
    assert set(frame["ridge_test_error"].isna()) == {dtype == "tf32x3"}  # it needs the digits of float32 for certain


@pytest.mark.parametrize("classes", [[], ["dataset.classes=[0,1,2]"]])
def test_a_record_holds_which_test_images_are_answered_wrongly(tmp_path, classes):
    trained = ["training.epochs=8", "training.lr=0.5", "snapshot.epochs=[0]", "measure.names=[]"]
    kept = [option for option in OPTIONS if option.partition("=")[0] not in {one.partition("=")[0] for one in trained}]
    run(to_config(compose([*kept, *trained, *classes])), tmp_path)
    records = read_records(tmp_path)
    for record in records:
        assert unpack(record.net_test_wrong, record.n_test).mean() == pytest.approx(record.net_test_error, abs=1e-15)
        for kernel in record.kernels:
            wrong = unpack(kernel.svm_test_wrong, record.n_test)
            assert wrong.mean() == pytest.approx(kernel.svm_test_error, abs=1e-15)
    assert len({record.net_test_wrong for record in records}) > 1
