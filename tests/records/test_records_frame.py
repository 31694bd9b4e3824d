import pandas as pd
import pytest

from afterkernel.errors import UserError
from afterkernel.records import read_records, results, sql, write_record
from afterkernel.records.columns import FRAME
from afterkernel.records.frame import to_frame

# The columns that every version has, in their order; a version may add others.
SURFACE = [
    "run_id",
    "evaluation_id",
    "sweep",
    "dataset",
    "minus",
    "plus",
    "n_train",
    "n_test",
    "arch",
    "width",
    "parameters",
    "learning_rate",
    "seed",
    "epoch",
    "step",
    "final",
    "train_loss",
    "net_train_error",
    "net_test_error",
    "wall_s_train",
    "config_sha256",
    "commit",
    "device",
    "kernel",
    "svm_backend",
    "svm_intercept",
    "svm_test_error",
    "svm_train_error",
    "margin",
    "gap",
    "n_support",
    "separable",
    "converged",
    "svm_path",
    "embedding_norm",
    "shift_invariance",
    "rotation_invariance",
    "zoom_invariance",
    "swap_invariance",
    "effective_rank",
    "kernel_error",
    "approximation_error",
    "target_alignment",
    "target_cka",
    "distance_to_initial",
    "kernel_velocity",
    "ridge_test_error",
    "ridge_loo_error",
    "ridge",
    "decay_exponent",
    "warnings",
    "wall_s_kernel",
    "wall_s_svm",
    "wall_s_measures",
    "peak_bytes",
    "schema_version",
]
COLUMNS = [name for name in FRAME if name != "measures"]


def test_one_row_a_snapshot_and_kernel_with_the_record_s_numbers(tmp_path, make_record):
    write_record(tmp_path, make_record(("ntk", "conjugate"), swap_invariance=0.625), 1)
    frame = results(tmp_path)
    assert list(frame.columns) == COLUMNS
    assert [name for name in COLUMNS if name in SURFACE] == SURFACE
    assert frame["kernel"].tolist() == ["conjugate", "ntk"]
    assert frame["swap_invariance"].tolist() == [0.625, 0.625]
    assert frame["peak_bytes"].tolist() == [123456789] * 2
    assert frame["wall_s_svm"].tolist() == [0.25] * 2


def test_dtypes_hold_missing_values_without_changing_their_kind(tmp_path, make_record):
    write_record(tmp_path, make_record(epoch=0, margin=None, separable=False, gap=None), 1)
    write_record(tmp_path, make_record(epoch=1, separable=None, swap_invariance=None), 1)
    frame = results(tmp_path)
    assert frame.dtypes[["margin", "gap", "swap_invariance", "epoch"]].astype(str).tolist() == ["Float64"] * 4
    assert str(frame["separable"].dtype) == "boolean"
    assert frame.dtypes[["step", "n_support", "peak_bytes"]].astype(str).tolist() == ["int64"] * 3
    assert frame.dtypes[["final", "converged"]].astype(str).tolist() == ["bool"] * 2
    assert str(frame["svm_test_error"].dtype) == "float64"
    assert frame["margin"].isna().tolist() == [True, False]
    assert not frame["separable"].iloc[0]
    assert frame["separable"].iloc[1] is pd.NA


def test_rows_are_sorted(tmp_path, make_record):
    wanted = [
        ("cifar10", "vgg", 0.1, 1, 5),
        ("mnist", "mlp", 0.1, 1, 5),
        ("mnist", "vgg", 0.01, 1, 5),
        ("mnist", "vgg", 0.1, 0, 5),
        ("mnist", "vgg", 0.1, 1, 2),
        ("mnist", "vgg", 0.1, 1, 10),
    ]
    names = ["dataset", "arch", "learning_rate", "seed", "epoch"]
    for index, values in enumerate(reversed(wanted)):
        write_record(tmp_path / f"{index}", make_record(run_id=f"{index}", **dict(zip(names, values, strict=True))), 1)
    frame = results(tmp_path)
    assert list(frame[names].itertuples(index=False, name=None)) == wanted
    assert frame.index.tolist() == list(range(6))


def test_no_records_names_the_directory(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} contains no readable records"):
        results(tmp_path)


def test_a_copied_run_is_not_counted_twice(tmp_path, make_record):
    write_record(tmp_path / "run0", make_record(), 1)
    write_record(tmp_path / "copy", make_record(), 1)
    for ask in (results, read_records, lambda folder: sql(folder, "select 1 from results")):
        with pytest.raises(UserError, match=r"copy and .*run0 hold the same run"):
            ask(tmp_path)


def test_records_in_memory_make_the_same_frame(tmp_path, make_record):
    for seed in (3, 1):
        records = [
            make_record(
                ("ntk", "conjugate"), epoch=0, seed=seed, run_id=f"run{seed}", margin=None, warnings=("a", "b")
            ),
            make_record(epoch=5, seed=seed, run_id=f"run{seed}", separable=None, commit=None),
        ]
        for record in records:
            write_record(tmp_path / f"run{seed}", record, 1)
    frame = results(tmp_path)
    pd.testing.assert_frame_equal(frame, to_frame(read_records(tmp_path)))
    assert frame["warnings"].tolist() == ["a; b", "a; b", ""] * 2
    assert frame["commit"].isna().tolist() == [False, False, True] * 2


def test_measures_whose_names_depend_on_options_are_columns(tmp_path, make_record):
    write_record(tmp_path, make_record(epoch=0, measures={"eigenvalue_10": 0.5, "eigenvalue_2": None}), 1)
    write_record(tmp_path, make_record(epoch=1, measures={"eigenvalue_2": 3.0, "shift_2px_invariance": 0.25}), 1)
    frame = results(tmp_path)
    assert list(frame.columns) == [*COLUMNS, "eigenvalue_2", "eigenvalue_10", "shift_2px_invariance"]
    assert frame["eigenvalue_10"].tolist() == [0.5, pd.NA]
    assert frame["eigenvalue_2"].tolist() == [pd.NA, 3.0]
    asked = sql(tmp_path, "select epoch, measures->>'$.shift_2px_invariance' as moved from results order by epoch")
    assert asked["moved"].tolist()[1] == "0.25"


def test_measures_are_columns_of_queries_and_conditions_too(tmp_path, make_record):
    names = ["eigenvalue_2", "layers.1/shift_invariance", 'my "own"', "Eigenvalue_2"]
    numbers = {"alignment_with_centred_ntk": 0.5} | {name: float(index) for index, name in enumerate(names)}
    write_record(tmp_path, make_record(("centred_ntk",), epoch=1, measures=numbers), 1)
    write_record(tmp_path, make_record(("ntk",), epoch=2, measures={"alignment_with_centred_ntk": 1}), 1)
    frame = results(tmp_path, "alignment_with_centred_ntk < 0.75")
    assert frame["kernel"].tolist() == ["centred_ntk"]
    assert frame[names].iloc[0].tolist() == [0, 1, 2, 3]
    assert results(tmp_path, '"layers.1/shift_invariance" = 1 and "my ""own""" = 2')["epoch"].tolist() == [1]
    asked = sql(tmp_path, "select epoch, alignment_with_centred_ntk, eigenvalue_2 from results order by epoch")
    assert asked["alignment_with_centred_ntk"].tolist() == [0.5, 1]
    assert asked["eigenvalue_2"].isna().tolist() == [False, True]
    with pytest.raises(UserError, match="alignment_with_rbf is not a column"):
        results(tmp_path, "alignment_with_rbf < 1")
