"""The identity of a run: which options belong to it, and that equivalent configurations have one."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterkernel.config import Config, compose, to_config
from afterkernel.config.catalogue import every_option
from afterkernel.config.identity import deciding
from afterkernel.config.kernel_options import Kernel
from afterkernel.config.schema import KINDS
from afterkernel.data.sources.digits import Digits
from afterkernel.data.sources.folder import ImageFolder
from afterkernel.measures import MEASURES, measure_options
from afterkernel.models import MLP
from afterkernel.options import option_type, walk
from afterkernel.svm import BACKENDS
from afterkernel.training.options import LOSS_CHECK_OPTIONS, Snapshots, Training

# Every option is in one of the two sets: those that affect numbers and so belong to the identity, and the rest.
AFFECTS = {
    *(f"dataset.{name}" for name in ("name", "minus", "plus", "classes", "max_train", "max_test")),
    *("dataset.label", "dataset.root of folder"),
    *(f"arch.{name}" for name in ("name", "budget", "width", "init", "num_layers", "num_blocks")),
    *(f"training.{name}" for name in ("lr", "batch_size", "epochs", "loss_target")),
    *(f"training.{name}" for name in ("augment", "augment_angle_deg", "augment_shift_px")),
    *(f"training.{name}" for name in ("optimizer", "momentum", "lr_schedule", "weight_decay", "label_noise")),
    *(f"training.{name}" for name in ("max_steps", "loss_check", "loss_checks_per_epoch", "loss_check_images")),
    *("training.output_scale", "training.centered_output", "arch.patch_size", "arch.depth", "arch.heads"),
    *(
        "snapshot.epochs",
        "snapshot.losses",
        "kernel.names",
        "kernel.dtype",
        "kernel.output",
        "kernel.sketch.dim",
        "kernel.sketch.seed",
        "seed",
    ),
    *(
        f"svm.{name}"
        for name in ("name", "tol", "project", "intercept", "soft_C", "max_steps", "C", "stop_tol", "max_iter")
    ),
    *(f"svm.{name}" for name in ("algorithm", "check_every", "clip", "seed", "loss")),
    *(f"measure.{name}" for name in ("names", "num_images", "gram_images", "seed", "per_layer", "shift_px")),
    *(f"measure.{name}" for name in ("angle_rad", "crop_fraction", "eigenvalues", "decay_ranks")),
}
DOES_NOT = {
    *("dataset.root", "dataset.download", "kernel.budget_bytes", "kernel.resumable", "keep", "output_dir", "force"),
    *("trainer.device", "trainer.checkpoint_every_s", "trainer.threads", "svm.timeout_s", "svm.library"),
    *(f"logger.wandb.{name}" for name in ("mode", "project", "entity", "share", "code", "git", "console", "artifacts")),
    *("logger.every_steps", "logger.csv.enabled", "logger.tensorboard.enabled"),
    *("logger.mlflow.enabled", "logger.mlflow.tracking_uri"),
    *(
        "sweep.name",
        "sweep.on_error",
        "sweep.claims",
        "sweep.dry_run",
        "sweep.max_runs",
        "sweep.recorded",
        "sweep.also",
    ),
    "plugins",
}
TARGET = "training.loss_target=0.1"
# What an option needs to count.
ACTIVE = {
    "augment_angle_deg": {"augment": "rotation"},
    "augment_shift_px": {"augment": "rotation_shift"},
    **{name: {"loss_target": 0.1} for name in LOSS_CHECK_OPTIONS},
    "seed": {"algorithm": 2},
}


def config(*words):
    return to_config(compose(words))


def made(**sections):
    defaults = {"dataset": Digits(), "arch": MLP(), "svm": BACKENDS["exact"](), "measure": measure_options()}
    return Config(**{**defaults, **sections})


def other(field, value):
    """A value of an option that differs from `value`."""
    choices = [choice for choice in field.metadata["choices"] if value != choice and value != [choice]]
    kind = option_type(field)
    if kind.base == "bool":
        return not value
    if kind.is_list:
        return choices[:1] if choices else [*value, "x"] if kind.base == "str" else [*value, 7]
    if kind.base == "str":
        return choices[0] if choices else "another"
    return 3 if value is None else value + 1


def changed(node, path, field):
    """The node with the option at a dotted path set to another value, and with what the option needs to count."""
    name, _, rest = path.partition(".")
    value = getattr(node, name)
    if rest:
        return dataclasses.replace(node, **{name: changed(value, rest, field)})
    return dataclasses.replace(node, **{name: other(field, value)})


def cases():
    for name in every_option():
        group, _, rest = name.partition(".")
        for kind, section in KINDS.get(group, {"": None}).items():
            node = Config() if section is None else section()
            for path, field, _ in walk(node):
                if path == (rest if section else name):
                    yield name, kind, section, path, field


def test_every_option_is_classified():
    names = {name for name in every_option() if not name.startswith("launcher.")}
    assert names == (AFFECTS | DOES_NOT) - {"dataset.root of folder"}
    assert not AFFECTS & DOES_NOT


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case[0]}-{case[1]}")
def test_an_option_counts_as_it_is_classified(case):
    name, kind, section, path, field = case
    group = name.partition(".")[0]
    node = section() if section else made()
    needed = ACTIVE.get(field.name, {})
    if group == "training":
        node = dataclasses.replace(node, training=dataclasses.replace(node.training, **needed))
    elif name.startswith("kernel.sketch."):
        node = dataclasses.replace(node, kernel=Kernel(names=["sketch"]))
    elif section and needed and hasattr(node, next(iter(needed))):
        node = dataclasses.replace(node, **needed)
    after = changed(node, path, field)
    one, two = ((made(**{group: each}) if section else each) for each in (node, after))
    counts = name in AFFECTS or (name == "dataset.root" and kind == "folder")
    assert name in DOES_NOT or name in AFFECTS or group == "launcher"
    assert (one.identity.run_id != two.identity.run_id) == counts
    assert (one.identity.run_id == two.identity.run_id) == (
        (one.identity.training_id, one.identity.evaluation_id) == (two.identity.training_id, two.identity.evaluation_id)
    )


EQUIVALENT = [
    ("kernel.names=[ntk,conjugate]", "kernel.names=[conjugate,ntk]"),
    ("measure.names=[ridge,spectrum]", "measure.names=[spectrum,ridge]"),
    ("keep=[gram,checkpoint]", "keep=[checkpoint,gram]"),
    ("training.lr=0.1", "training.lr=1e-1"),
    ("training.lr=1", "training.lr=1.0"),
    ("training.loss_target=1", "training.loss_target=1.0"),
    ("measure.angle_rad=[1]", "measure.angle_rad=[1.0]"),
    ("training.augment_angle_deg=0", "training.augment_angle_deg=20"),
    ("snapshot.losses=[0.1,1]", "snapshot.losses=[1.0,0.1]"),
    ("training.loss_check=paper", "training.loss_checks_per_epoch=3 training.loss_check_images=null"),
    (
        "training.loss_target=1 training.loss_check=paper",
        "training.loss_target=1 training.loss_check=paper training.loss_checks_per_epoch=3",
    ),
    ("training.epochs=0", "training.epochs=0 snapshot.losses=[1] training.max_steps=1"),
    ("training.augment=rotation", "training.augment=rotation training.augment_shift_px=3"),
    (
        "training.augment=rotation_shift training.augment_shift_px=-0.0",
        "training.augment=rotation_shift training.augment_shift_px=0",
    ),
    ("training.epochs=3 snapshot.epochs=[0,1]", "training.epochs=3 snapshot.epochs=[1,0,3,9]"),
    (
        "training.epochs=0 training.batch_size=3",
        "training.epochs=0 training.augment=rotation_shift training.loss_target=0.5",
    ),
    ("training.epochs=0 training.optimizer=adam", "training.epochs=0 training.momentum=0.5 training.weight_decay=1"),
    ("training.optimizer=sgd training.momentum=0 training.lr_schedule=constant", "training.output_scale=1"),
    ("arch.width=16 arch.budget=5000", "arch.width=16"),
    ("svm=jst svm.seed=3", "svm=jst"),
    ("measure=spectrum measure.num_images=3 measure.shift_px=[2]", "measure=spectrum"),
    ("measure.names=[] measure.gram_images=7 measure.per_layer=true measure.seed=1", "measure.names=[]"),
    ("measure.names=[invariance] measure.gram_images=7", "measure.names=[invariance]"),
    ("dataset.classes=all", "dataset.classes=[0,1,2,3,4,5,6,7,8,9]"),
    ("dataset.classes=[0,1,2] kernel.output=trace", "dataset.classes=['0','1','2']"),
    (
        "dataset.classes=[0,1,2] kernel.names=[conjugate] kernel.output=sum",
        "dataset.classes=[0,1,2] kernel.names=[conjugate]",
    ),
    ("dataset=mnist dataset.root=a dataset.download=true", "dataset=mnist dataset.root=b"),
]


@pytest.mark.parametrize(("one", "two"), EQUIVALENT)
def test_equivalent_configurations_have_one_id(one, two):
    first, second = config(*one.split()), config(*two.split())
    assert first.identity.run_id == second.identity.run_id
    assert first.identity.evaluation_id == second.identity.evaluation_id


@pytest.mark.parametrize(
    ("words", "run_id"),
    [
        ("", "vgg-lr0.01-seed0-5d1474e767"),
        ("arch=vgg training.augment=rotation_shift", "vgg-lr0.01-seed0-b9367b3193"),
        ("arch=sum dataset=mnist training.epochs=0", "sum-lr0.01-seed0-fdaf71b79d"),
        ("arch=mlp arch.init=ntk svm=libsvm", "mlp-lr0.01-seed0-41ab8c69c7"),
        ("arch=mlp training.epochs=3 snapshot.epochs=[0,1]", "mlp-lr0.01-seed0-22b97aca82"),
        ("arch=resnet training.lr=0.1 seed=3", "resnet-lr0.1-seed3-162ee6baf5"),
        ("training.optimizer=adam training.lr_schedule=cosine", "vgg-lr0.01-seed0-a644d24893"),
        (
            "training=sgd_rotation_shift training.augment_angle_deg=30 training.augment_shift_px=2",
            "vgg-lr0.01-seed0-089b6a8603",
        ),
    ],
)
def test_options_that_were_added_later_leave_the_ids_of_earlier_runs(words, run_id):
    assert config(*words.split()).identity.run_id == run_id


def test_a_loss_is_part_of_the_identity_with_how_it_is_looked_for():
    plain, target, losses = (config(*words).identity.training for words in ([], [TARGET], ["snapshot.losses=[0.1]"]))
    assert not set(LOSS_CHECK_OPTIONS) & plain["training"].keys()
    assert plain["snapshot"] == target["snapshot"] == {"epochs": [0, 1, 2, 5, 10]}
    assert losses["snapshot"] == {"epochs": [0, 1, 2, 5, 10], "losses": [0.1]}
    for found in (target, losses):
        assert {name: found["training"][name] for name in LOSS_CHECK_OPTIONS} == {
            "loss_check": "within_epochs",
            "loss_checks_per_epoch": 20,
            "loss_check_images": 1000,
        }


def test_options_of_several_classes_are_no_part_of_the_ids_of_two():
    found = deciding(config())
    assert not {"classes", "output"} & {*found["dataset"], *found["kernel"]}
    several = deciding(config("dataset.classes=[0,1,2]", "kernel.output=sum"))
    assert several["dataset"]["classes"] == ["0", "1", "2"]
    assert several["kernel"]["output"] == "sum"
    assert not {"minus", "plus"} & several["dataset"].keys()


def test_all_classes_are_those_that_a_list_names_before_they_are_listed_too():
    ids = {made(dataset=Digits(classes=classes)).identity.run_id for classes in ("all", list("0123456789"))}
    assert len(ids) == 1


def test_a_folder_is_one_data_set_however_its_path_is_spelled(tmp_path, monkeypatch):
    (tmp_path / "pets").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    spelled = ["pets", "pets/", "./pets", "link", f"{tmp_path}/x/../pets"]
    ids = [made(dataset=ImageFolder(root=root, minus="a", plus="b")).identity.run_id for root in spelled]
    assert len(set(ids)) == 1
    assert made(dataset=ImageFolder(root="other", minus="a", plus="b")).identity.run_id != ids[0]


epochs = st.lists(st.integers(0, 12), max_size=6)
rates = st.floats(min_value=1e-300, max_value=1e300)


@settings(max_examples=200, deadline=None)
@given(epochs, epochs, st.integers(0, 8), rates, rates)
def test_one_id_means_one_training(first, second, last, rate, another):
    runs = [
        made(training=Training(lr=lr, epochs=last), snapshot=Snapshots(chosen))
        for lr, chosen in ((rate, first), (another, second))
    ]
    means = [({epoch for epoch in chosen if epoch < last}, lr) for chosen, lr in ((first, rate), (second, another))]
    assert (runs[0].identity.run_id == runs[1].identity.run_id) == (means[0] == means[1])


@settings(max_examples=50, deadline=None)
@given(st.permutations(["ntk", "conjugate"]), st.permutations(list(MEASURES)))
def test_the_order_of_names_is_no_part_of_it(kernels, measures):
    shuffled = made(kernel=Kernel(names=kernels), measure=measure_options(names=measures))
    assert (
        shuffled.identity.run_id == made(kernel=Kernel(), measure=measure_options(names=list(MEASURES))).identity.run_id
    )


def test_measures_declare_what_they_use():
    # An option that is taken for inactive must change no number: those that look at test images say so.
    for name, kind in MEASURES.items():
        assert ("num_images" in measure_options(names=[name]).inactive) == (not kind.of_test_images)
