"""The configuration: defaults, identity, every shipped file, and the messages for user errors."""

import dataclasses
import functools
import re
from dataclasses import replace

import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from afterkernel.claims import CLAIMS
from afterkernel.config import compose, config_from_dict, config_to_dict, override, to_config
from afterkernel.config.catalogue import every_option, option_groups
from afterkernel.config.checks import check
from afterkernel.config.help import help_on
from afterkernel.config.overrides import check_early, choices, count_runs, groups
from afterkernel.config.places import CONF, SWEEPS
from afterkernel.config.schema import KINDS, Config, register
from afterkernel.errors import UserError
from afterkernel.measures import MEASURES
from afterkernel.options import check_bounds, walk
from afterkernel.text import closest_option
from afterkernel.wandb.options import Wandb


def config(*overrides):
    return to_config(compose(overrides))


def test_defaults_are_those_of_the_paper():
    made = config()
    assert (made.dataset.name, made.arch.name, made.svm.name) == ("digits", "vgg", "exact")
    assert (made.arch.budget, made.arch.num_layers, made.arch.num_blocks) == (100_000, 4, 2)
    assert (made.training.lr, made.training.batch_size, made.training.augment) == (0.01, 32, "none")
    assert (made.arch.init, made.kernel.dtype, made.kernel.budget_bytes) == ("glorot", "float32", 3 * 1024**3)
    assert made.logger.wandb.mode == "offline"


def _unwrapped(text):
    return " ".join(text.split())


def test_every_measure_is_a_choice_and_help_shows_its_cost():
    text = _unwrapped(help_on("all"))
    for name, kind in MEASURES.items():
        assert config(f"measure={name}").measure.names == [name]
        assert kind.what in text
        assert f"cost: {kind.cost}" in text


def _choices():
    register()
    return [f"{group}={name}" for group in groups() for name in choices(group)]


def test_every_kind_and_every_file_of_conf_is_a_choice():
    kinds = {f"{group}={name}" for group, registry in KINDS.items() for name in registry}
    files = {f"{path.parent.name}={path.stem}" for path in CONF.glob("*/*.yaml")}
    measures = {f"measure={name}" for name in MEASURES}
    assert not kinds & files
    assert set(_choices()) == kinds | files | measures


@pytest.mark.parametrize("choice", _choices())
def test_every_choice_composes(choice, tmp_path, monkeypatch, installed, importable):
    overrides = [choice]
    installed("sbatch", "squeue", "scancel", "scontrol")
    importable("ray")
    monkeypatch.setattr(KINDS["svm"]["cuml"], "check", lambda self: None)  # needs a GPU
    if choice == "dataset=folder":
        from PIL import Image

        for split in ("train", "test"):
            for name in ("a", "b"):
                (tmp_path / split / name).mkdir(parents=True)
                Image.new("L", (12, 12)).save(tmp_path / split / name / "1.png")
        overrides += [f"dataset.root={tmp_path}", "dataset.minus=a", "dataset.plus=b"]
    if choice == "trainer=gpu":
        overrides += ["trainer.device=cpu"]
    assert isinstance(config(*overrides), Config)


SWEEP_NAMES = sorted(path.stem for path in SWEEPS.glob("*.yaml"))


@pytest.mark.parametrize("name", SWEEP_NAMES)
def test_every_sweep_composes_and_names_its_grid(name):
    cfg = compose([f"+sweep={name}"], with_hydra=True)
    assert str(cfg.hydra.mode) == "RunMode.MULTIRUN"
    assert to_config(cfg).sweep.name == name or name.startswith("paper_")  # parts of one experiment share a folder
    known = every_option()
    for swept in cfg.hydra.sweeper.params:
        assert swept in known or swept in KINDS or (CONF / swept).is_dir()
    assert re.fullmatch(r"range\([0-9]+\)", cfg.hydra.sweeper.params["seed"])


@pytest.mark.parametrize("name", SWEEP_NAMES)
def test_every_run_of_a_sweep_is_sound_and_the_header_counts_them(name):
    held = compose([f"+sweep={name}"], with_hydra=True)
    params = dict(held.hydra.sweeper.params)
    n_seeds = int(params["seed"].removeprefix("range(").removesuffix(")"))
    params["seed"] = "0"
    runs = []
    for further in ("", *held.sweep.also):
        of_grid = {**params, **dict(word.split("=", 1) for word in further.split())}
        rates = [float(rate) for rate in of_grid.pop("training.lr", "").split(",") if rate]
        words = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in of_grid.items()])
        (grid,) = BasicSweeper.split_arguments(words, None)
        for overrides in grid:  # composing is slow: once for all learning rates
            composed = config(f"+sweep={name}", *overrides)
            lrs = rates or [composed.training.lr]
            runs += [replace(composed, training=replace(composed.training, lr=lr)) for lr in lrs]
    for one in runs:
        check(one)
    assert len({one.identity.run_id for one in runs}) == len(runs)
    text = (SWEEPS / f"{name}.yaml").read_text()
    assert f"{n_seeds * len(runs)} runs" in text
    claims = runs[0].sweep.claims
    several = "ten_classes" in name
    if not name.startswith("paper_"):
        assert claims == ([name] if name in CLAIMS else [] if several else list(CLAIMS))
    assert all(bool(one.dataset.classes) == several for one in runs)  # claims are about pairs of classes
    assert bool(claims) != several
    if name != "demo" and not name.startswith("paper_"):
        assert {one.dataset.name for one in runs} == {"mnist", "cifar10"}
        assert {one.arch.name for one in runs} == {"vgg", "mlp"}
        assert {"c5", "c6"}.isdisjoint(claims) or all(one.training.loss_target for one in runs)


def test_plain_data_and_back():
    made = config("arch=mlp", "svm=jst", "dataset=mnist", "training.loss_target=0.1", "kernel.dtype=float64")
    plain = config_to_dict(made)
    assert config_from_dict(yaml.safe_load(yaml.safe_dump(plain))) == made


def test_identity_follows_what_decides_numbers_and_nothing_else():
    base = config().identity.run_id
    same = ["output_dir=elsewhere", "trainer=cpu", "trainer.threads=1", "kernel.budget_bytes=1000000000"]
    same += ["logger=none", "sweep.name=x", "force=true", "training.lr=1e-2", "keep=[]", "keep=[gram,checkpoint]"]
    assert {config(word).identity.run_id for word in same} == {base}
    others = ["seed=1", "training.lr=0.02", "arch=mlp", "arch.init=ntk", "snapshot.epochs=[0]", "kernel.dtype=float64"]
    others += ["svm=libsvm", "svm.tol=1e-5", "measure.num_images=10", "dataset.plus=5", "training.augment=rotation"]
    assert len({base} | {config(word).identity.run_id for word in others}) == len(others) + 1


def test_options_of_measures_that_are_not_taken_decide_nothing():
    assert config("measure.shift_px=[1,2]").identity.evaluation_id != config().identity.evaluation_id
    alone = config("measure=spectrum").identity.evaluation_id
    assert alone != config().identity.evaluation_id
    assert config("measure=spectrum", "measure.shift_px=[1,2]").identity.evaluation_id == alone
    assert config("measure=spectrum", "measure.eigenvalues=3").identity.evaluation_id != alone


def test_data_root_is_no_part_of_identity_for_known_sets_and_is_for_folders():
    assert (
        config("dataset=mnist", "dataset.root=a").identity.run_id
        == config("dataset=mnist", "dataset.root=b").identity.run_id
    )
    fields = {field.name: field for field in dataclasses.fields(KINDS["dataset"]["folder"])}
    assert fields["root"].metadata["affects_results"]


def test_evaluation_identity_leaves_training_out():
    assert config("training.lr=0.5").identity.evaluation_id == config().identity.evaluation_id
    assert config("svm=libsvm").identity.evaluation_id != config().identity.evaluation_id


def test_override_keeps_what_it_does_not_name():
    trained = config("arch=mlp", "arch.budget=5000", "kernel.names=[ntk]", "measure.num_images=7")
    changed = override(trained, ["svm=libsvm", "kernel.dtype=float64"])
    assert (changed.svm.name, changed.kernel.dtype, changed.kernel.names) == ("libsvm", "float64", ["ntk"])
    assert (changed.arch, changed.measure) == (trained.arch, trained.measure)
    assert override(trained, []) == trained


def test_every_option_has_help_and_help_has_every_option():
    text = _unwrapped(help_on("all"))
    for name in every_option():
        assert name.endswith(".name") or f"{name}=" in text
    for group, kinds in KINDS.items():
        for kind in kinds.values():
            assert all(field.metadata["help"] for _, field, _ in walk(kind(), group))


MISTAKES = {
    "training.lr=abc": "training.lr=abc has the wrong type: it must be a number",
    "training.lr=": "training.lr= has the wrong type",
    "training.lr=null": "training.lr=null has the wrong type",
    "training.lr=-1": "training.lr=-1.0 is too small: it must be greater than 0",
    "training.lr=nan": "training.lr=nan is not a number",
    "training.lr=0.1,0.2": "names several values: add --multirun",
    "training.lrr=1": "training.lrr is not an option: did you mean training.lr?",
    "training.epochs=3.5": "training.epochs=3.5 has the wrong type: it must be a whole number",
    "training.augment=true": "training.augment=true is not known: choose one of none, rotation, rotation_shift",
    "training.batch_size=0": "training.batch_size=0 is too small",
    "training.loss_target=x": "it must be a number or null",
    "~training.lr": "training.lr can't be deleted",
    "training=adam": "training=adam is not known: choose one of sgd, sgd_rotation, sgd_rotation_shift",
    "+training.typo=1": "training.typo is not an option",
    "+typo=1": "typo is not an option: python -m afterkernel --help all lists all options",
    "arch=vgx": "arch=vgx is not known (did you mean vgg?): choose one of mlp, resnet, sum, vgg, vit.",
    "arch.init=foo": "arch.init=foo is not known: choose one of glorot, pytorch, ntk",
    "arch.budget=5": "arch.budget=5 is too small: vgg on 1x8x8 images has at least 1193 parameters",
    "arch.num_layers=3": "does not divide into arch.num_blocks=2",
    "arch.num_blocks=4": "arch.num_blocks=4 is too many for images of side 8",
    "arch=mlp arch.num_blocks=2": "arch.num_blocks is not an option of the selected arch",
    "dataset=cifar": "dataset=cifar is not known (did you mean cifar10?): choose one of cifar10, ",
    "dataset.plus=12": "dataset.plus=12 is not a class of digits",
    "dataset.plus=3": "are the same class",
    "dataset=cifar10 dataset.minus=kat": "did you mean cat?",
    "dataset=mnist dataset.root=/nowhere dataset.download=false": "MNIST/raw has no train-images",
    "dataset=folder": "dataset.root is not set",
    "dataset=folder dataset.root=/nope": "dataset.root=/nope is not a folder: it needs train/CLASS/",
    "kernel.names=[ntkk]": "kernel.names=ntkk is not known: choose one of ntk, conjugate, linear, rbf, infinite_ntk,",
    "kernel.names=[]": "kernel.names=[] is empty",
    "kernel.dtype=float16": "choose one of float32, float64",
    "kernel.budget_bytes=100": "budget_bytes=100 is too small: two embeddings of 91847 numbers",
    "snapshot.epochs=5": "it must be a list of whole numbers",
    "snapshot.epochs=[-1]": "snapshot.epochs=-1 is too small",
    "svm=svc": "svm=svc is not known: choose one of auto, cuml, exact, jst, liblinear, libsvm, thundersvm",
    "svm.tol=0": "svm.tol=0.0 is too small",
    "svm.name=libsvm": "svm.name=libsvm can't be set directly: use svm=NAME",
    "measure.crop_fraction=[2]": "measure.crop_fraction=2.0 is too large",
    "measure.crop_fraction=0.5": "measure.crop_fraction=0.5 has the wrong type: it must be a list of numbers, such as",
    "measure.shift_px=2": "measure.shift_px=2 has the wrong type: it must be a list of whole numbers, such as",
    "measure.shift_px=[1,2,1]": "measure.shift_px=[1,2,1] names 1 twice: give each value once",
    "measure.angle_rad=[0.25,0]": "measure.angle_rad=0.0 is too small: it must be greater than 0",
    "measure.names=[rank]": "measure.names=rank is not known: choose one of alignment, effective_rank, invariance, ",
    "measure.decay_ranks=[11]": "measure.decay_ranks=[11] is not a range of ranks: give the first and the last",
    "measure.decay_ranks=[11,12]": "is not a range of ranks",
    "measure.gram_images=1": "measure.gram_images=1 is too small: it must be at least 2",
    "logger.wandb.mode=on": "choose one of offline, online, disabled",
    "trainer.device=tpu": "choose one of auto, cpu, cuda",
    "sweep.claims=[c9]": "sweep.claims=c9 is not known: choose one of c1, c2, c3, c4, c5, c6",
    "sweep.claims=c1": "sweep.claims=c1 has the wrong type: it must be a list of names",
    "sweep.name=a/b": "is not a valid folder name",
    "output_dir=/dev/null": "output_dir=/dev/null: /dev/null is not a folder that can be written to",
    "output_dir=/dev/null/runs": "/dev/null is not a folder that can be written to",
    "seed=-1": "seed=-1 is too small",
    "experiment=nope": "experiment=nope is not known: choose one of mnist_mlp, mnist_vgg",
    "evel": "'evel' is neither a command nor an option",
    "=5": "write options as name=value",
}


@pytest.mark.parametrize("words", list(MISTAKES))
def test_an_invalid_option_gets_one_sentence(words):
    with pytest.raises(UserError, match=re.escape(MISTAKES[words])) as raised:
        config(*words.split())
    assert "\n" not in str(raised.value)


def test_a_gpu_that_is_absent_is_reported(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=r"trainer\.device=cuda: torch finds no CUDA device here"):
        config("trainer=gpu")


def test_online_without_an_account_is_reported(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match=r"logger\.wandb\.mode=online: no W&B account is known here"):
        config("logger.wandb.mode=online")


def test_a_backend_that_is_not_installed_is_reported_before_training(monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "thundersvm" else found(name, *a))
    with pytest.raises(UserError, match=r"pip install afterkernel\[thundersvm\]"):
        config("svm=thundersvm")


@pytest.mark.parametrize(("text", "sentence"), [("a: [", "can't be read as YAML"), ("- 1", "is not a sweep")])
def test_a_sweep_file_that_is_no_sweep_is_named(text, sentence, tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence) as raised:
        config("+sweep=mine")
    assert "mine.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("mode", "environment", "effective"),
    [
        ("offline", None, "offline"),
        ("offline", "disabled", "disabled"),
        ("offline", "online", "offline"),
        ("online", "offline", "offline"),
        ("online", "dryrun", "offline"),
        ("disabled", "online", "disabled"),
        ("online", "Online", "online"),
    ],
)
def test_wandb_mode_of_the_environment_can_only_lower_the_option(mode, environment, effective, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    assert Wandb(mode=mode).effective_mode() == effective


@pytest.mark.parametrize(
    "words",
    [
        ["seed=0,1,2", "arch=mlp,vgg"],
        ["seed=range(7)", "training.lr=range(0.1,1,0.3)"],
        ["seed=range(10,0,-3)", "arch=mlp"],
        ["seed=range(3,3)"],
        ["seed=0,1", "seed=range(5)"],
        ["seed=shuffle(range(4))", "snapshot.epochs=[0],[1,2]"],
        ["training.lr=range(1,2,0.1)"],
        ["seed=5"],
    ],
)
def test_runs_are_counted_as_hydra_makes_them(words):
    parsed = OverridesParser.create().parse_overrides(words)
    (grid,) = BasicSweeper.split_arguments(parsed, None)
    assert count_runs(parsed) == len(grid)


def test_bounds_of_every_option_refuse_what_no_number_can_be():
    """Each number, and each number of a list, of every kind: not infinite, not NaN, not of 30 digits."""
    checked = 0
    for group, kinds in {"": {"": Config}, **KINDS}.items():
        for kind in kinds.values():
            for name, field, value in walk(kind()):
                plain = str(field.type).removesuffix(" | None")
                if plain.removeprefix("list[").removesuffix("]") not in ("int", "float"):
                    continue
                bad = [float("inf"), float("-inf"), float("nan"), True, "1"]
                bad += [10**30, -(10**30)] if "int" in plain else []
                node = kind()
                *path, last = name.split(".")
                section = functools.reduce(getattr, path, node)
                for each in bad:
                    setattr(section, last, [each] if plain.startswith("list") else each)
                    with pytest.raises(UserError, match=re.escape(last)):
                        check_bounds(section, f"{group}.")
                setattr(section, last, value)
                checked += 1
    assert checked > 60


def test_only_the_sweep_file_that_is_named_is_read(tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "broken.yaml").write_text("a: [")
    (tmp_path / "sweeps" / "good.yaml").write_text("seed: 3\n")
    monkeypatch.chdir(tmp_path)
    assert config("seed=1").seed == 1
    assert config("+sweep=good").seed == 3


def test_a_sweep_file_may_choose_several_loggers(tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text("defaults:\n  - override /logger: [csv, wandb]\nseed: 3\n")
    monkeypatch.chdir(tmp_path)
    made = config("+sweep=mine").logger
    assert (made.csv.enabled, made.wandb.mode, made.tensorboard.enabled) == (True, "offline", False)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("training.lrr", "training.lr"),
        ("trainig.lr", "training.lr"),
        ("lr", "training.lr"),
        ("Seed", "seed"),
        ("arch.widht", "arch.width"),
        ("training.nesterov", None),
        ("training.learning_rate", None),
        ("epochs", None),
        ("optimizer.lr", None),
        ("x", None),
    ],
)
def test_suggestions_are_close_or_absent(name, found):
    assert closest_option(name, every_option()) == found


def test_a_stored_configuration_is_plain_values():
    plain = config_to_dict(config("arch=mlp"))
    plain["output_dir"] = "${oc.env:HOME}"
    with pytest.raises(UserError, match="contains references"):
        config_from_dict(plain)


def test_every_default_and_every_alternative_passes_the_early_checks():
    options = [option for group in option_groups() for option in group.all_options]
    texts = {(option.name, option.default_text) for option in options if option.default not in ("", [])}
    texts |= {(option.name, option.metadata["alternative"]) for option in options if option.metadata["alternative"]}
    assert {("launcher.processes", "auto"), ("dataset.classes", "all")} <= texts
    for name, text in texts:
        check_early([f"{name}={text}"])
