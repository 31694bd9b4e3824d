import math

import pytest

from afterkernel.claims.pairing import at_end, at_initialisation, paired_differences
from afterkernel.records import read_records
from afterkernel.report import table_data as tables
from afterkernel.report.sections import make_sections


@pytest.fixture
def rows(tmp_path):
    def load():
        (section,) = make_sections(read_records(tmp_path))
        return section.rows()

    return load


def pick(table, **wanted):
    for name, value in wanted.items():
        table = table[table[name] == value]
    (row,) = table.to_dict("records")
    return row


def test_errors_are_averaged_over_seeds_and_over_nothing_else(write_run, rows):
    for seed, error in enumerate([0.01, 0.02, 0.06]):
        write_run({0: 0.1, 5: error}, seed=seed)
    write_run({0: 0.1, 5: 0.5}, rate=0.03)
    write_run({0: 0.1, 5: 0.9}, arch="mlp")
    table = tables.errors_by_epoch(rows())
    row = pick(table, panel="vgg", learning_rate=0.1, kernel="ntk", epoch=5)
    assert row["mean"] == pytest.approx(0.03)
    assert row["standard_error"] == pytest.approx(0.01 * math.sqrt(7 / 3))
    assert row["n_seeds"] == 3
    assert pick(table, panel="vgg", learning_rate=0.1, kernel="conjugate", epoch=5)["mean"] == pytest.approx(0.04)
    assert pick(table, panel="vgg", learning_rate=0.03, kernel="ntk", epoch=5)["mean"] == 0.5
    assert pick(table, panel="mlp", learning_rate=0.1, kernel="ntk", epoch=5)["mean"] == 0.9
    own = pick(table, panel="vgg", learning_rate=0.1, kernel="network", epoch=5)
    assert (own["mean"], own["n_seeds"]) == (pytest.approx(0.0777), 3)


def test_the_start_counts_a_seed_once_though_many_rates_share_it(write_run, rows):
    for seed, error in enumerate([0.10, 0.20]):
        for rate in (0.01, 0.1):
            write_run({0: error, 1: 0.1}, seed=seed, rate=rate)
    row = pick(tables.errors_at_start(rows()), panel="vgg", kernel="ntk")
    assert (row["mean"], row["n_seeds"]) == (pytest.approx(0.15), 2)
    assert row["standard_error"] == pytest.approx(0.05)


def test_changes_are_paired_by_run(write_run, rows):
    write_run({0: 0.10, 5: 0.07}, swap={0: 0.5, 5: 0.6}, seed=0)
    write_run({0: 0.20, 5: 0.15}, swap={0: 0.7, 5: 0.6}, seed=1)
    row = pick(tables.changes(rows()), kernel="ntk", measure="svm_test_error")
    assert row["before_mean"] == pytest.approx(0.15)
    assert row["after_mean"] == pytest.approx(0.11)
    assert row["change_mean"] == pytest.approx(-0.04)
    assert row["change_standard_error"] == pytest.approx(0.01)
    assert (row["n_lower"], row["change_n_seeds"], row["epochs"], row["final"]) == (2, 2, "5", True)
    swap = pick(tables.changes(rows()), kernel="ntk", measure="swap_invariance")
    assert swap["change_mean"] == pytest.approx(0.0)
    assert swap["n_lower"] == 1


def test_a_run_without_an_end_is_left_out_where_others_have_one(write_run, rows):
    write_run({0: 0.10, 1: 0.09, 5: 0.07}, seed=0)
    write_run({0: 0.30, 1: 0.20}, seed=1, last=5)
    row = pick(tables.changes(rows()), kernel="ntk", measure="svm_test_error")
    assert (row["before_mean"], row["after_mean"], row["after_n_seeds"]) == (0.10, 0.07, 1)


def test_without_an_end_the_furthest_epoch_is_used_and_is_not_called_final(write_run, rows):
    write_run({0: 0.10, 1: 0.09}, seed=0, last=5)
    row = pick(tables.changes(rows()), kernel="ntk", measure="svm_test_error")
    assert (row["after_mean"], row["epochs"], row["final"]) == (0.09, "1", False)


def test_ends_at_different_epochs_are_put_together(write_run, rows):
    write_run({0: 0.1, 3: 0.05}, seed=0, training={"loss_target": 0.1, "epochs": 50})
    write_run({0: 0.1, 4: 0.07}, seed=1, training={"loss_target": 0.1, "epochs": 50})
    row = pick(tables.changes(rows()), kernel="ntk", measure="svm_test_error")
    assert (row["after_mean"], row["epochs"], row["after_n_seeds"]) == (pytest.approx(0.06), "3 to 4", 2)


def test_a_setting_that_varies_parts_the_seeds(write_run, rows):
    write_run({0: 0.1, 1: 0.02}, training={"augment": False})
    write_run({0: 0.1, 1: 0.04}, training={"augment": True})
    table = tables.errors_by_epoch(rows())
    assert pick(table, panel="vgg, augment=none", kernel="ntk", epoch=1)["mean"] == 0.02
    assert pick(table, panel="vgg, augment=rotation_shift", kernel="ntk", epoch=1)["mean"] == 0.04


def plain_config(rate=0.1, seed=0, place=0, augment=False):
    """The shape of a resolved configuration, with settings that decide nothing made to vary by `place`."""
    return {
        "dataset": {"name": "mnist", "minus": "3", "plus": "8", "root": f"data{place}", "max_train": None},
        "arch": {"name": "vgg", "budget": 100000},
        "training": {"lr": rate, "epochs": 1, "augment": augment},
        "snapshot": {"epochs": [0, 1]},
        "kernel": {"budget_bytes": 2**20 + place},
        "svm": {"name": "exact", "tol": 1e-6},
        "logger": {"wandb": {"mode": f"mode{place}"}},
        "trainer": {"device": "auto", "threads": place},
        "sweep": {"name": f"sweep{place}"},
        "seed": seed,
        "output_dir": f"runs{place}",
        "force": bool(place),
    }


def test_rates_seeds_and_places_make_no_panels(write_run, tmp_path):
    for place, (rate, seed) in enumerate([(0.1, 0), (0.1, 1), (0.01, 0)]):
        write_run({0: 0.1, 1: 0.02}, rate=rate, seed=seed, config=plain_config(rate, seed, place))
    (section,) = make_sections(read_records(tmp_path))
    assert set(section.rows()["panel"]) == {"vgg"}


def test_settings_that_decide_make_panels(write_run, tmp_path):
    for augment in (False, True):
        write_run({0: 0.1, 1: 0.02}, run_id=f"run{augment}", config=plain_config(augment=augment))
    (section,) = make_sections(read_records(tmp_path))
    assert set(section.rows()["panel"]) == {"vgg, augment=none", "vgg, augment=rotation_shift"}


def test_a_run_in_two_sweeps_counts_once(write_run, tmp_path):
    write_run({0: 0.1, 1: 0.02})
    write_run({0: 0.1, 1: 0.02}, sweep="again")
    (section,) = make_sections(read_records(tmp_path))
    assert tables.errors_by_epoch(section.rows())["n_seeds"].max() == 1
    assert section.n_dropped == 4


def test_evaluations_and_pairs_are_kept_apart(write_run, tmp_path):
    write_run({0: 0.1, 1: 0.02})
    write_run({0: 0.4}, evaluation_id="eval1", last=1)
    write_run({0: 0.3}, plus="9", run_id="other")
    first, second = make_sections(read_records(tmp_path))
    assert (first.plus, second.plus) == ("8", "9")
    assert first.evaluation_groups == ["eval0", "eval1"]
    assert set(first.rows()["evaluation_id"]) == {"eval0"}
    assert first.rows("eval1")["svm_test_error"].tolist() == pytest.approx([0.41, 0.4])


def test_health_counts_what_failed_and_keeps_the_worst_gap(write_run, rows):
    write_run({0: 0.1}, seed=0, kernel_fields={"gap": 1e-9, "n_support": 10})
    write_run({0: 0.1}, seed=1, kernel_fields={"gap": 1e-3, "n_support": 90, "converged": False, "separable": None})
    write_run({0: 0.1}, seed=2, kernel_fields={"gap": None, "margin": None, "separable": False})
    row = pick(tables.health(rows()), kernel="ntk")
    assert (row["n"], row["n_converged"], row["n_separable"], row["n_separable_unknown"]) == (3, 2, 1, 1)
    assert (row["largest_gap"], row["fewest_support"], row["most_support"]) == (1e-3, 10, 321)
    assert row["mean_margin"] == pytest.approx(0.0123)


def test_costs_are_means_sums_and_peaks(write_run, rows):
    write_run({0: 0.1, 1: 0.1})
    row = pick(tables.costs(rows()), kernel="ntk")
    assert (row["n"], row["mean_wall_s_kernel"], row["total_wall_s"]) == (2, 1.5, 7.5)
    assert row["largest_peak_bytes"] == 3 * 2**30


def test_networks_once_a_run(write_run, rows):
    write_run({0: 0.1, 1: 0.1}, seed=0)
    write_run({0: 0.1, 1: 0.1}, seed=1)
    row = pick(tables.networks(rows()), panel="vgg")
    assert (row["n_seeds"], row["width"], row["parameters"], row["epoch"], row["step"]) == (2, "38", "95267", "1", "10")


def evaluated(names, budget=1, tol=1e-6):
    return plain_config() | {"kernel": {"names": names, "budget_bytes": budget}, "svm": {"name": "exact", "tol": tol}}


def test_evaluations_that_differ_only_in_the_chosen_kernels_are_one_group(write_run, tmp_path):
    write_run({0: 0.1, 1: 0.02}, kernels=("ntk",), config=evaluated(["ntk"]))
    write_run({0: 0.1, 1: 0.02}, evaluation_id="eval1", kernels=("conjugate",), config=evaluated(["conjugate"], 2))
    write_run({0: 0.9}, evaluation_id="eval2", last=1, kernels=("ntk",), config=evaluated(["ntk"], tol=1e-3))
    (section,) = make_sections(read_records(tmp_path))
    assert section.evaluation_groups == ["eval0", "eval2"]
    assert sorted(zip(section.rows()["epoch"], section.rows()["kernel"], strict=True)) == [
        (0, "conjugate"),
        (0, "ntk"),
        (1, "conjugate"),
        (1, "ntk"),
    ]


@pytest.mark.parametrize(("dtype", "pairs"), [("float32", 2), ("tf32x3", 0)])
def test_claims_never_pair_kernels_of_two_precisions(write_run, tmp_path, dtype, pairs):
    """The initialisation in float32; the end of training in the same precision, or in another."""
    for seed in range(3):
        for arch in ("vgg", "mlp"):
            for name, errors, own in (("eval0", {0: 0.1}, "float32"), ("eval1", {1: 0.02}, dtype)):
                config = evaluated(["ntk"]) | {"arch": {"name": arch}, "seed": seed}
                config["kernel"]["dtype"] = own
                fields = {"kernels": ("ntk",), "config": config, "kernel_fields": {"kernel_dtype": own}}
                write_run(errors, arch=arch, seed=seed, evaluation_id=name, last=1, **fields)
    (section,) = make_sections(read_records(tmp_path))
    groups = [section.rows(name) for name in section.evaluation_groups]
    assert all(rows["kernel_dtype"].nunique() == 1 for rows in groups)
    for rows in groups:
        found = paired_differences(at_initialisation(rows), at_end(rows), "svm_test_error")
        assert len(found) == pairs


def test_an_evaluation_repeated_in_the_same_way_counts_once(write_run, tmp_path):
    write_run({0: 0.1, 1: 0.02}, config=evaluated(["ntk", "conjugate"]))
    write_run({0: 0.1, 1: 0.02}, evaluation_id="eval1", kernels=("ntk",), config=evaluated(["ntk"]))
    (section,) = make_sections(read_records(tmp_path))
    assert (section.evaluation_groups, section.n_dropped) == (["eval0"], 2)
    assert tables.errors_by_epoch(section.rows())["n_seeds"].max() == 1


def test_labels_of_rows_come_from_the_configuration(write_run, tmp_path):
    for seed, augment in enumerate((False, True, "none", "rotation")):  # true and false in runs of older versions
        training = {"augment": augment, "loss_target": 0.1 if augment else None, "max_steps": 100 * seed}
        config = {
            "arch": {"name": "vgg"},
            "training": training,
            "snapshot": {"losses": [0.2, 0.1][:seed]},
            "seed": seed,
        }
        write_run({0: 0.1, 1: 0.02}, seed=seed, config=config)
    (section,) = make_sections(read_records(tmp_path))
    rows = section.rows().drop_duplicates("seed").set_index("seed").sort_index()
    assert rows["augment"].to_dict() == {0: "none", 1: "rotation_shift", 2: "none", 3: "rotation"}
    assert rows["losses"].tolist() == [(), (0.2,), (0.2, 0.1), (0.2, 0.1)]
    assert rows["loss_target"].isna().tolist() == [True, False, False, False]
    assert set(rows["setting"]) == {"vgg"}
    assert rows["panel"].tolist() == [f"vgg, augment={one}" for one in ("none", "rotation_shift", "none", "rotation")]


def test_of_runs_that_stop_at_different_losses_the_longest_has_the_end(write_run, tmp_path):
    for target, epochs in ((0.1, (0, 1)), (0.05, (0, 1, 2))):
        training = {"loss_target": target, "epochs": 9}
        write_run({epoch: 0.1 - 0.01 * epoch for epoch in epochs}, run_id=f"run{len(epochs)}", training=training)
    (section,) = make_sections(read_records(tmp_path))
    (row,) = tables.changes(section.rows()).query("kernel == 'ntk' and measure == 'svm_test_error'").to_dict("records")
    assert (row["change_n_seeds"], row["change_mean"]) == (1, pytest.approx(-0.02))
    assert section.rows()["panel"].nunique() == 1
