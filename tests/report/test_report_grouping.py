"""Which options keep runs apart: by the declarations of the options, not by lists of names."""

import pytest

from afterkernel.config.schema import KINDS, Config
from afterkernel.options import walk
from afterkernel.records import read_records
from afterkernel.report import build
from afterkernel.report.grouping import AVERAGED, flatten_all, separating
from afterkernel.report.sections import make_sections

PLAIN = {"dataset.name": "mnist", "arch.name": "vgg", "svm.name": "exact", "launcher.name": "local"}


@pytest.mark.parametrize(
    "name",
    [
        *("keep", "force", "output_dir", "sweep.name", "logger.wandb.mode", "trainer.threads", "launcher.processes"),
        *("dataset.root", "dataset.download", "kernel.budget_bytes", "kernel.resumable"),
        *("seed", "kernel.names", "snapshot.epochs"),
        *("launcher.of_an_older_version", "trainer.of_an_older_version"),
    ],
)
def test_options_that_do_not_keep_runs_apart(name):
    assert separating([{**PLAIN, name: "1"}, {**PLAIN, name: "2"}]) == []


@pytest.mark.parametrize(
    "name", ["dataset.max_train", "training.augment", "training.epochs", "arch.of_a_plugin", "svm.tol", "measure.seed"]
)
def test_options_that_affect_results_do(name):
    assert separating([{**PLAIN, name: "1"}, {**PLAIN, name: "2"}]) == [name]
    assert separating([PLAIN, {**PLAIN, name: "2"}]) == [name]
    assert separating([{**PLAIN, name: "1"}, {**PLAIN, name: "2"}], ignored=[name]) == []


def test_an_option_that_older_runs_do_not_have_has_its_default_there():
    old = {"training": {"lr": 0.1}, "arch": {"name": "vgg"}, "sweep": {"name": "old"}}
    new = {"training": {"lr": 0.1, "momentum": 0.0}, "arch": {"name": "vgg"}, "sweep": {"name": "new"}}
    other = {"training": {"lr": 0.1, "momentum": 0.9}, "arch": {"name": "vgg", "width": 7}}
    assert separating(flatten_all([old, new])) == []
    flat = flatten_all([old, new, other])
    assert separating(flat) == ["arch.width", "training.momentum"]
    assert [(each["training.momentum"], each["arch.width"]) for each in flat] == [
        ("0.0", "null"),
        ("0.0", "null"),
        ("0.9", "7"),
    ]


def test_an_option_is_that_of_the_kind_chosen():
    folder = PLAIN | {"dataset.name": "folder"}
    assert separating([{**folder, "dataset.root": "a"}, {**folder, "dataset.root": "b"}]) == ["dataset.root"]


def test_two_plugins_may_mean_different_things_by_one_name():
    none, one, other = ({**PLAIN, "plugins": text} for text in ("[]", '["one"]', '["other"]'))
    assert separating([none, one]) == separating([one, PLAIN]) == []
    assert separating([none, one, other]) == separating([one, other]) == ["plugins"]


def test_every_option_follows_its_declaration():
    for group, kinds in {"": {"": Config}, **KINDS}.items():
        for kind in kinds.values():
            section = kind()
            for name, field, _ in walk(section, f"{group}." if group else ""):
                plain = PLAIN | ({f"{group}.name": section.name} if group else {})
                expected = (field.metadata["affects_results"] and name not in AVERAGED) or name == "plugins"
                if name.split(".")[-1] != "name":
                    assert separating([plain | {name: "1"}, plain | {name: "2"}]) == ([name] if expected else []), name


def test_runs_that_differ_in_what_is_kept_share_their_seeds(write_run, tmp_path):
    for seed, keep in enumerate([["checkpoint"], [], ["gram"]]):
        config = {
            "dataset": {"name": "mnist", "root": f"data{seed}", "download": bool(seed)},
            "arch": {"name": "vgg"},
            "training": {"lr": 0.1, "epochs": 1},
            "snapshot": {"epochs": [0, 1]},
            "keep": keep,
        }
        write_run({0: 0.1, 1: 0.02}, seed=seed, config=config)
    (section,) = make_sections(read_records(tmp_path))
    assert set(section.rows()["panel"]) == {"vgg"}


def test_kernels_and_measures_that_are_not_built_in_are_shown(write_run, tmp_path):
    fields = {"measures": {"my_measure": 1.5, "layers.0/my_measure": 2.5}}
    write_run({0: 0.1, 1: 0.02}, kernels=("ntk", "my_kernel"), kernel_fields=fields)
    page = build(tmp_path).read_text()
    assert "Trajectory of vgg, my_kernel" in page
    assert "my measure (<code>my_measure</code>)" in page
    for name in ("trajectory_0_my_kernel", "before_after"):
        table = (tmp_path / "report" / "tables" / f"mnist-3-8_{name}.csv").read_text()
        assert "my_measure" in table
        assert "layers.0" not in table
