"""Files in a run's folder are never used unchecked: lost, damaged or another run's files, and force=true."""

import dataclasses
import json
import shutil

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from afterkernel.__main__ import main
from afterkernel.config import compose, to_config
from afterkernel.data.sources.digits import Digits
from afterkernel.errors import UserError
from afterkernel.records import SkippedWarning, read_records, read_run, write_record
from afterkernel.records.files import CONFIG, RECORDS, REPLACED, STATE
from afterkernel.records.store import next_number
from afterkernel.runs.run import read_config, reevaluate, run
from afterkernel.sweep.grid import compose_grid, finished
from afterkernel.training import snapshot

# Damaged records are named and skipped.
pytestmark = pytest.mark.filterwarnings(f"ignore::{SkippedWarning.__module__}.{SkippedWarning.__name__}")

OPTIONS = [
    *("dataset=digits", "dataset.max_train=40", "dataset.max_test=20", "arch=mlp", "arch.width=5"),
    *("training.epochs=2", "training.lr=0.1", "training.batch_size=40", "snapshot.epochs=[0,1]"),
    *("kernel.names=[ntk]", "measure.names=[kernel_distance]", "logger.wandb.mode=disabled"),
    *("trainer.threads=1", "trainer.checkpoint_every_s=0"),
]


def made(*words):
    return to_config(compose([*OPTIONS, *words]))


def numbers(run_dir):
    """Everything in the records that is not time, memory or provenance, with the hashes of images and weights."""
    found = {}
    for record in read_run(run_dir, made().identity.run_id).values():
        kernels = [{**dataclasses.asdict(kernel), "resources": None} for kernel in record.kernels]
        facts = record.net_train_error, record.train_loss, record.final, record.run_id
        hashes = [record.provenance[name] for name in ("data_sha256", "snapshot_sha256")]
        key = record.epoch, record.evaluation_id
        assert key not in found
        found[key] = kernels, facts, hashes
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("whole")
    run(made(), run_dir)
    return run_dir


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A run with another seed."""
    run_dir = tmp_path_factory.mktemp("foreign")
    run(made("seed=1"), run_dir)
    return run_dir


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def files(run_dir):
    return sorted(str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file())


def only(run_dir, name):
    """A file by its name, or by the beginning of it."""
    path = run_dir / name
    return path if path.suffix else next(path.parent.glob(f"{path.name}.*.json"))


def disturb(run_dir, other, harm):
    """Do to each file what `harm` says."""
    for name, action in harm.items():
        path = only(run_dir, name)
        if action == "delete":
            path.unlink()
        elif action == "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif action == "foreign":
            shutil.copy(only(other, name), path)


def assert_whole_or_refused(run_dir, whole):
    """The plain command ends with exactly the records of an undisturbed run, or refuses in one sentence."""
    refusal = ""
    try:
        run(made(), run_dir)
    except UserError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert run_dir.name in refusal
        return refusal
    assert numbers(run_dir) == numbers(whole)
    assert run(made(), run_dir) is False
    return ""


SNAPSHOTS = [f"snapshots/step={epoch}.{end}" for epoch in range(3) for end in ("json", "pt")]
# Files of records by the beginning of their names, their step.
RECORD_FILES = [f"{RECORDS}/{step}" for step in range(3)]
NAMES = [*SNAPSHOTS, "training.json", STATE, CONFIG, *RECORD_FILES]
NO_RECORDS = dict.fromkeys(RECORD_FILES, "delete")
LOST = dict.fromkeys((*SNAPSHOTS, *RECORD_FILES), "delete")
actions = st.sampled_from(["keep", "keep", "delete", "delete", "cut", "foreign"])


def warm(run_dir, ending):
    return next(name for name in files(run_dir) if name.startswith("supports/step=0001") and name.endswith(ending))


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(harm=st.fixed_dictionaries(dict.fromkeys(NAMES, actions)))
@example(harm=LOST)
@example(harm={**LOST, "training.json": "delete"})
@example(harm={**LOST, STATE: "delete"})
@example(harm={**NO_RECORDS, CONFIG: "delete", "snapshots/step=1.pt": "delete"})
def test_any_files_may_be_lost_damaged_or_replaced(harm, whole, foreign, tmp_path_factory):
    run_dir = shutil.copytree(whole, tmp_path_factory.mktemp("harmed") / "run")
    disturb(run_dir, foreign, harm)
    assert_whole_or_refused(run_dir, whole)


@pytest.mark.parametrize(
    "lost",
    [
        LOST,  # with training.json kept
        NO_RECORDS,
        {f"{RECORDS}/1": "cut"},
        {f"{RECORDS}/2": "foreign"},
        {"training.json": "delete"},
        {STATE: "delete"},
        {STATE: "cut"},
        {CONFIG: "cut"},
        {"snapshots/step=1.json": "delete", "snapshots/step=1.pt": "delete"},
        {**NO_RECORDS, "snapshots/step=0.pt": "delete"},
    ],
)
def test_what_is_lost_is_made_again(lost, copy, whole, foreign):
    disturb(copy, foreign, lost)
    assert assert_whole_or_refused(copy, whole) == ""
    assert read_config(copy) == made()
    assert {name for name in files(whole) if RECORDS not in name} <= set(files(copy))


@pytest.mark.parametrize("ending", [".json", ".npz"])
@pytest.mark.parametrize("action", ["delete", "cut", "foreign"])
def test_a_warm_start_or_sample_that_is_lost_or_foreign_changes_no_number(ending, action, copy, whole, foreign):
    disturb(copy, foreign, {warm(whole, ending): action, f"{RECORDS}/2": "delete"})
    assert assert_whole_or_refused(copy, whole) == ""


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_another_runs_snapshot_is_refused(epoch, copy, foreign, capsys):
    disturb(copy, foreign, {f"snapshots/step={epoch}.{end}": "foreign" for end in ("json", "pt")})
    sentence = f"step={epoch}.json is not of this run, as it belongs to another training"
    assert main(["evaluate", str(copy)]) == 2
    assert sentence in capsys.readouterr().err
    shutil.rmtree(copy / RECORDS)
    with pytest.raises(UserError, match=sentence):
        run(made(), copy)


def test_a_snapshot_of_the_same_training_elsewhere_is_refused(copy, tmp_path):
    run(made(), tmp_path / "twin")
    disturb(copy, tmp_path / "twin", {f"snapshots/step=1.{end}": "foreign" for end in ("json", "pt")})
    with pytest.raises(UserError, match="another start of the same training"):
        reevaluate(made(), copy, copy.name)


def test_a_last_record_that_is_not_final_is_made_again(copy, whole):
    last = max(read_records(copy), key=lambda record: record.epoch)
    write_record(copy, dataclasses.replace(last, final=False), next_number(copy))
    assert run(made(), copy) is True
    assert numbers(copy) == numbers(whole)


def test_a_copied_folder_is_the_same_run(copy, whole):
    assert run(made(), copy) is False
    assert main(["evaluate", str(copy)]) == 0
    assert numbers(copy) == numbers(whole)


@pytest.fixture
def new_images(monkeypatch):
    """Other images from here on, under the same options."""
    read = Digits.read

    def inverted(self, train):
        images, labels = read(self, train)
        return 1 - images if train else images, labels

    monkeypatch.setattr(Digits, "read", inverted)


class KilledError(BaseException):
    pass


def killing(after):
    """A `check_cancelled` that seems to end the process, the `after`-th time it is called."""
    left = [after]

    def check_cancelled():
        left[0] -= 1
        if left[0] < 0:
            raise KilledError

    return check_cancelled


@pytest.fixture(scope="module")
def renewed(tmp_path_factory):
    """What an undisturbed run on the new images gives, filled by the first test that needs it."""
    return tmp_path_factory.mktemp("renewed")


@pytest.mark.parametrize("after", [0, 1, 2, 4, 6, 8, 9, 11, 14, 18])
def test_force_killed_at_any_moment_mixes_nothing(after, copy, whole, renewed, new_images):
    """Looks come before every file: 1 to 7 clear the folder, then training and evaluation write."""
    if not (renewed / STATE).exists():
        run(made(), renewed)
    old = numbers(whole)
    try:
        run(made("force=true"), copy, check_cancelled=killing(after))
        ended = True
    except KilledError:
        ended = False
    begun = json.loads((copy / STATE).read_text())["start"] != json.loads((whole / STATE).read_text())["start"]
    if not begun:
        with pytest.raises(UserError, match="the images are not those"):
            run(made(), copy)
        assert numbers(copy) == old
        return
    if not ended:
        kept = [path for path in copy.rglob("step=1.pt") if path.parent.parent.parent.name == REPLACED]
        kept += [copy / "snapshots/step=1.pt"] if not kept else []
        assert kept[0].read_bytes() == (whole / "snapshots/step=1.pt").read_bytes()
        assert run(made(), copy) is True
    assert numbers(copy) == numbers(renewed)
    assert not (copy / REPLACED).exists()
    assert run(made(), copy) is False


def test_a_forced_run_keeps_nothing_of_the_old_one(copy, whole):
    assert main(["evaluate", str(copy), "svm=libsvm"]) == 0
    assert len(numbers(copy)) == 6
    run(made("force=true"), copy)
    assert numbers(copy) == numbers(whole)
    old, new = (json.loads((folder / STATE).read_text())["start"] for folder in (whole, copy))
    assert old != new
    assert {snapshot.read(path).run.split()[2] for path in snapshot.paths(copy)} == {new}


def test_a_sweep_takes_no_forced_run_that_was_killed_for_finished(tmp_path, new_images, monkeypatch):
    grid = [[*OPTIONS, f"output_dir={tmp_path}"]]
    (entry,) = compose_grid(compose, grid)
    run(entry.config, entry.run_dir)
    assert finished([entry]) == {entry.run_dir}
    monkeypatch.undo()
    assert finished([entry]) == set()  # the images are others
    with pytest.raises(KilledError):
        run(made("force=true"), entry.run_dir, check_cancelled=killing(9))
    assert finished([entry]) == set()
    run(made(), entry.run_dir)
    assert finished([entry]) == {entry.run_dir}


def test_a_process_of_the_replaced_start_that_wakes_late_mixes_nothing(copy, whole, foreign):
    """It had looked before it was paused, so that one write of each kind may come after everything else."""
    run(made("force=true"), copy, check_cancelled=lambda: None)
    disturb(copy, whole, dict.fromkeys(SNAPSHOTS, "foreign"))
    shutil.copy(whole / "training.json", copy / "training.json")
    with pytest.raises(UserError, match="force=true replaced: run the same command again"):
        reevaluate(made(), copy, copy.name)
    assert run(made(), copy) is True
    assert numbers(copy) == numbers(whole)
    starts = {snapshot.read(path).run for path in snapshot.paths(copy)}
    assert starts == {snapshot.read_summary(copy).run}
    assert starts != {snapshot.read_summary(whole).run}


def test_a_run_that_continues_keeps_its_first_values_and_logs_it(copy, whole, caplog):
    caplog.set_level("INFO")
    disturb(copy, whole, {f"{RECORDS}/1": "delete", f"{RECORDS}/2": "delete"})
    run(made("kernel.budget_bytes=1000000", "trainer.threads=2"), copy)
    assert (
        "the run continues with trainer.threads=1 (not 2), kernel.budget_bytes=3221225472 (not 1000000)" in caplog.text
    )
    assert numbers(copy) == numbers(whole)
    executions = {json.dumps(record.provenance["execution"], sort_keys=True) for record in read_records(copy)}
    assert executions == {'{"budget_bytes": 3221225472, "device": "cpu", "threads": 1}'}
    assert {record.config["kernel"]["budget_bytes"] for record in read_records(copy)} == {3221225472}


def test_before_its_first_record_a_run_takes_another_budget(copy):
    shutil.rmtree(copy / RECORDS)
    run(made("kernel.budget_bytes=1000000"), copy)
    assert {record.provenance["execution"]["budget_bytes"] for record in read_records(copy)} == {1000000}


def test_a_run_begun_on_a_gpu_does_not_continue_without_one(copy):
    shutil.rmtree(copy / RECORDS)
    state = json.loads((copy / STATE).read_text())
    (copy / STATE).write_text(json.dumps(state | {"device": "cuda"}))
    with pytest.raises(UserError, match="was started on a GPU, and torch finds none here"):
        run(made(), copy)
