"""Errors in the files of runs: configurations, snapshots and summaries, tiles, results."""

import io
import json
import shutil
from dataclasses import replace
from hashlib import sha256

import torch
import yaml
from data_errors import Payload, pickled
from error_case import TINY_DATA, ErrorCase

from afterkernel.records import read_records, write_record
from afterkernel.records.exported import export
from afterkernel.records.files import RECORDS

M = ErrorCase


def edited(path, change, run="run"):
    """A finished run with one file changed by a function of its bytes, or removed."""

    def setup(at):
        getattr(at, run)()
        file = at.folder / "run" / path
        file.write_bytes(change(file.read_bytes()))

    return setup


def in_place_of(folder):
    """A finished run with a file where it keeps a folder."""

    def setup(at):
        shutil.rmtree(at.run() / folder)
        at.write(f"run/{folder}", "x")

    return setup


def removed(path):
    def setup(at):
        target = at.run() / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return setup


def with_fields(**changes):
    return lambda data: json.dumps({**json.loads(data), **changes}).encode()


def config(change):
    def edit(data):
        found = yaml.safe_load(data)
        change(found)
        return yaml.safe_dump(found).encode()

    return edit


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def weights(make):
    """A snapshot whose weights are replaced together with their recorded hash."""

    def setup(at):
        data = make(at)
        (at.run() / f"{LAST}.pt").write_bytes(data)
        file = at.folder / "run" / f"{LAST}.json"
        file.write_bytes(with_fields(sha256=sha256(data).hexdigest())(file.read_bytes()))

    return setup


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def of_another_run(data):
    """Metadata of a snapshot or a summary as another training would have written it."""
    training, rest = json.loads(data)["run"].split(" ", 1)
    return with_fields(run=f"{'0' * len(training)} {rest}")(data)


def replaced_start(at):
    """A run that was started over, with files of its earlier start."""
    file = at.run() / "run.json"
    start = json.loads(file.read_text())["start"]
    file.write_bytes(with_fields(start="0" * len(start), earlier=[start])(file.read_bytes()))


def on_gpu(at):
    there("run.json", with_fields(device="cuda"), RECORDS)(at)
    at.patch.setattr("torch.cuda.is_available", lambda: False)


LAST = "snapshots/step=2"
AGAIN = "evaluate run"


def E(done, sentence, setup, words=AGAIN):  # noqa: N802
    return ErrorCase(done, words, sentence, setup, small=False)


# fmt: off
RUNS = [
    E("a folder that is not a run", "run is not a run: it has no config.yaml; name a folder runs/SWEEP/RUN_ID.", lambda at: (at.folder / "run").mkdir()),
    E("an evaluation of a folder that does not exist", "nowhere is not a run: it has no config.yaml; name a folder runs/SWEEP/RUN_ID.", None, "evaluate nowhere"),
    E("an evaluation with another learning rate", "training.lr=5.0 differs from what the snapshots were trained with, and evaluate takes only options of kernel, svm and measure: start a new run for that.", lambda at: at.run(), "evaluate run training.lr=5"),
    E("an evaluation with an unknown option", "typo is not an option: python -m afterkernel --help all lists all options.", lambda at: at.run(), "evaluate run +typo=1"),
    E("a configuration that is a list", "run/config.yaml is not a configuration of this version: it does not map option names to values.", edited("config.yaml", lambda _: b"- 1\n")),
    E("a truncated configuration", "run/config.yaml is not a configuration of this version: ... is missing or not a section: write its options below it, each as name: value.", edited("config.yaml", lambda data: data[: data.index(b"training:")])),
    E("a configuration that would run a command", "run/config.yaml is not a configuration of this version: run/config.yaml can't be read: its tag !!python/object/apply:os.system names code, not data.", edited("config.yaml", lambda _: b"!!python/object/apply:os.system ['touch EXECUTED']\n")),
    E("a configuration of a later version, with an option unknown here", "run/config.yaml is not a configuration of this version: training.nesterov is not an option: python -m afterkernel --help all lists all options.", edited("config.yaml", config(lambda found: found["training"].update(nesterov=True)))),
    E("a configuration of a later version, with an architecture unknown here", "run/config.yaml is not a configuration of this version: arch.name=lenet is not known: choose one of mlp, resnet, sum, vgg, vit.", edited("config.yaml", config(lambda found: found["arch"].update(name="lenet")))),
    E("a configuration with a wrong value", "training.lr=-1.0 is too small: it must be greater than 0.", edited("config.yaml", config(lambda found: found["training"].update(lr=-1)))),
    E("a configuration with a number for a section", "run/config.yaml is not a configuration of this version: dataset=5 is not a section: write its options below it, each as name: value.", edited("config.yaml", config(lambda found: found.update(dataset=5)))),
    E("a configuration with a list for a string", "run/config.yaml is not a configuration of this version: dataset.plus=[\"a\"] has the wrong type: it must be a string.", edited("config.yaml", config(lambda found: found["dataset"].update(plus=["a"])))),
    E("a configuration in which a name is not a string", "run/config.yaml is not a configuration of this version: svm.name=[] has the wrong type: it must be a string.", edited("config.yaml", config(lambda found: found["svm"].update(name=[])))),
    E("a configuration that is empty", "run/config.yaml is not a configuration of this version: it does not map option names to values.", edited("config.yaml", lambda _: b"")),
    E("a configuration that is not text", "run/config.yaml is not a configuration of this version: run/config.yaml can't be read as YAML: 'utf-8' codec can't decode byte 0xff in position 1: invalid start byte.", edited("config.yaml", lambda _: b"\x00\xff")),
    E("a configuration with an alias to itself", "run/config.yaml is not a configuration of this version: run/config.yaml can't be read as YAML: it has aliases (*a): write the values out.", edited("config.yaml", lambda _: b"a: &a [*a]\n")),
    E("a configuration with a callback of Hydra", "run/config.yaml is not a configuration of this version: hydra is not an option: python -m afterkernel --help all lists all options.", edited("config.yaml", lambda data: data + b"hydra: {callbacks: {x: {_target_: os.mkdir, path: EXECUTED}}}\n")),
    E("a configuration with a reference", "run/config.yaml is not a configuration of this version: it contains references (${oc.env:HOME}): write plain values instead.", edited("config.yaml", config(lambda found: found["training"].update(lr="${oc.env:HOME}")))),
    E("a configuration of another width", f"run/{LAST[:-1]}0.pt contains a different network from the one in run/config.yaml: restore it, or train the run again with force=true.", edited("config.yaml", config(lambda found: found["arch"].update(width=7)))),
    E("a file for a run", "run/config.yaml is not a run: it has no config.yaml; name a folder runs/SWEEP/RUN_ID.", lambda at: at.run(), "evaluate run/config.yaml"),
    E("an evaluation without a folder", "evaluate: the following arguments are required: RUN_DIR; python -m afterkernel evaluate --help shows its usage.", None, "evaluate"),
    E("an evaluation as a sweep", "--multirun is not an option of evaluate: python -m afterkernel evaluate --help lists them.", lambda at: at.run(), "evaluate run --multirun svm.tol=1e-3,1e-4"),
    E("an evaluation with another seed", "seed=3 differs from what the snapshots were trained with, and evaluate takes only options of kernel, svm and measure: start a new run for that.", lambda at: at.run(), "evaluate run seed=3"),
    E("an evaluation while a forced run has not begun", "run was restarted with force=true and is not trained yet: run its command again first.", edited("run.json", with_fields(clearing=True))),
    E("an evaluation of files that force=true replaced", f"run/{LAST[:-1]}0.json is of a run that force=true replaced: run the same command again, then evaluate.", replaced_start),
    E("a summary of another run", "run/training.json is not of this run, as ...: restore this run's own file, or start over with force=true.", edited("training.json", of_another_run)),
    E("a run without snapshots", "run has no snapshots: name the folder of one run, such as runs/SWEEP/RUN_ID.", removed("snapshots")),
    E("a run that was trained on other images", "the images are not those that run was trained with: restore them, or run again with force=true.", edited("training.json", with_fields(data_sha256="0" * 64))),
    E("a truncated training summary", "run/training.json is not a summary of this version (it is not valid JSON, perhaps cut short: ...): delete it and train the run again.", edited("training.json", lambda data: data[:20])),
    E("a training summary of a later version", "run/training.json is not a summary of this version (its version is 9, and this afterkernel reads 1; a later one may read it): delete it and train the run again.", edited("training.json", with_fields(version=9))),
    E("a reference to itself for an evaluation", "seed=${seed}: it refers to itself: give a value.", lambda at: at.run(), "evaluate run 'seed=${seed}'"),
    E("an evaluation into another folder", "output_dir=x has no effect on evaluate, which takes only options of kernel, svm and measure: leave it out.", lambda at: at.run(), "evaluate run output_dir=x"),
    E("an evaluation with force", "force=true has no effect on evaluate, which takes only options of kernel, svm and measure: leave it out.", lambda at: at.run(), "evaluate run force=true"),
    E("an evaluation with a launcher", "launcher=local has no effect on evaluate, which takes only options of kernel, svm and measure: leave it out.", lambda at: at.run(), "evaluate run launcher=local"),
    E("an evaluation in another sweep", "sweep.name=x has no effect on evaluate, which takes only options of kernel, svm and measure: leave it out.", lambda at: at.run(), "evaluate run sweep.name=x"),
    E("an evaluation with an experiment", "experiment=mnist_mlp has no effect on evaluate, which takes only options of kernel, svm and measure: leave it out.", lambda at: at.run(), "evaluate run experiment=mnist_mlp"),
    E("a file in place of a run's records", "run/records is not a folder, but the run's records are stored there: remove it.", in_place_of("records")),
    E("a file in place of a run's locks", "run/locks is not a folder, but the run's locks are stored there: remove it.", in_place_of("locks")),
    E("a broken link in place of a run's tiles", "run/tiles is not a folder, but the run's tiles are stored there: remove it.", lambda at: (at.run() / "tiles").symlink_to("nowhere")),
    E("a configuration that is a folder", "run/config.yaml is not a configuration of this version: run/config.yaml is a directory, where a regular file is expected.", lambda at: (at.folder / "run/config.yaml").mkdir(parents=True)),
    E("a configuration with a duplicate option", "run/config.yaml is not a configuration of this version: run/config.yaml can't be read as YAML: seed appears twice, in line ....", edited("config.yaml", lambda data: data + b"seed: 3\n")),
    E("a configuration with a custom tag", "run/config.yaml is not a configuration of this version: run/config.yaml can't be read: its tag !mine is not a plain data type: remove it.", edited("config.yaml", lambda data: data.replace(b"\nseed: 0", b"\nseed: !mine 0"))),
    E("a configuration with a set", "run/config.yaml is not a configuration of this version: run/config.yaml can't be read: its tag !!set is not a plain data type: remove it.", edited("config.yaml", lambda data: data.replace(b"\nseed: 0", b"\nseed: !!set {0}"))),
    E("a configuration with a placeholder", "run/config.yaml is not a configuration of this version: seed=??? has no value: give one.", edited("config.yaml", lambda data: data.replace(b"\nseed: 0", b"\nseed: ???"))),
    E("a configuration with 5 for true", "run/config.yaml is not a configuration of this version: training.centered_output=5 has the wrong type: it must be true or false.", edited("config.yaml", config(lambda found: found["training"].update(centered_output=5)))),
    E("a configuration with code in a section", "run/config.yaml is not a configuration of this version: arch._target_ is not an option: python -m afterkernel --help all lists all options.", edited("config.yaml", config(lambda found: found["arch"].update(_target_="os.mkdir")))),
    E("a configuration with a value in base 60", "run/config.yaml is not a configuration of this version: run/config.yaml can't be read as YAML: 1:30, in line ..., is not a plain number: write it in decimal digits, or in quotes as text.", edited("config.yaml", lambda data: data.replace(b"\nseed: 0", b"\nseed: 1:30"))),
]
# fmt: on

# fmt: off
SNAPSHOTS = [
    E("a snapshot copied from another run", f"run/{LAST}.json is not of this run, as it belongs to another training (other network, options or seed): restore this run's own file, or start over with force=true.", edited(f"{LAST}.json", of_another_run)),
    E("a snapshot whose run is junk", f"run/{LAST}.json is not of this run, as ...: restore this run's own file, or start over with force=true.", edited(f"{LAST}.json", with_fields(run="junk"))),
    E("truncated weights", f"run/{LAST}.pt is truncated or was altered, as its hash is not the one in step=2.json: restore it, or train the run again with force=true.", edited(f"{LAST}.pt", lambda data: data[:-100])),
    E("weights with one bit flipped", f"run/{LAST}.pt is truncated or was altered, as its hash is not the one in step=2.json: restore it, or train the run again with force=true.", edited(f"{LAST}.pt", flipped)),
    E("weights that are missing", "run has no weights to evaluate (step=2.pt is missing): keep=[checkpoint], the default, keeps them; run it again with that and force=true.", removed(f"{LAST}.pt")),
    E("weights of another network", f"run/{LAST}.pt contains a different network from the one in run/config.yaml: restore it, or train the run again with force=true.", weights(lambda at: saved({"layers.0.weight": torch.ones(2, 2)}))),
    E("weights that are not a state dict", f"run/{LAST}.pt contains a different network from the one in run/config.yaml: restore it, or train the run again with force=true.", weights(lambda at: saved([1, 2]))),
    E("weights that would run a command", f"run/{LAST}.pt contains something other than plain weights, so it is not loaded: train the run again.", weights(lambda at: saved({"w": Payload(at.folder / "EXECUTED")}))),
    E("a pickle in place of weights that would run a command", f"run/{LAST}.pt contains something other than plain weights, so it is not loaded: train the run again.", weights(pickled)),
    E("a truncated snapshot", f"run/{LAST}.json is not a snapshot of this version (it is not valid JSON, perhaps cut short: ...): train the run again.", edited(f"{LAST}.json", lambda data: data[:-40])),
    E("a snapshot of a later version", f"run/{LAST}.json is not a snapshot of this version (its version is 2, and this afterkernel reads 1; a later one may read it): train the run again.", edited(f"{LAST}.json", with_fields(version=2))),
    E("a snapshot of another step", f"run/{LAST}.json is not a snapshot of this version (it is of step 7): train the run again.", edited(f"{LAST}.json", with_fields(step=7))),
    E("a snapshot with a wrong type", f"run/{LAST}.json is not a snapshot of this version (step: Input should be a valid integer): train the run again.", edited(f"{LAST}.json", with_fields(step="two"))),
    E("a snapshot without a number", f"run/{LAST}.json is not a snapshot of this version (step is missing): train the run again.", edited(f"{LAST}.json", lambda data: json.dumps({k: v for k, v in json.loads(data).items() if k != "step"}).encode())),
]
# fmt: on


def there(path, change, without=""):
    """A finished run where the command would put it, with one file changed."""

    def setup(at):
        run = at.run(f"runs/default/{at.finished.name}")
        (run / path).write_bytes(change((run / path).read_bytes()))
        if without:
            shutil.rmtree(run / without)

    return setup


SAME = " ".join(TINY_DATA)


def flipped(data):
    return data[:100] + bytes([data[100] ^ 4]) + data[101:]


# fmt: off
RESUMED = [
    M("a repeated run whose summary is truncated", SAME, "...training.json is not a summary of this version (it is not valid JSON, perhaps cut short: ...): delete it and train the run again.", there("training.json", lambda data: data[:20])),
    M("a repeated run whose summary is of a later version", SAME, "...training.json is not a summary of this version (its version is 9, and this afterkernel reads 1; a later one may read it): delete it and train the run again.", there("training.json", with_fields(version=9))),
    M("a resumed run whose weights are truncated", SAME, f"...{LAST}.pt is truncated or was altered, as its hash is not the one in step=2.json: restore it, or train the run again with force=true.", there(f"{LAST}.pt", lambda data: data[:-100], RECORDS)),
    M("a run of a GPU resumed on a machine without one", SAME, "...was started on a GPU, and torch finds none here: continue it on a machine with a GPU, or start over with force=true.", on_gpu),
    M("a repeated run with another run's snapshot", SAME, f"...{LAST}.json is not of this run, as ...: restore this run's own file, or start over with force=true.", there(f"{LAST}.json", of_another_run)),
    M("a resumed run whose snapshot is of a later version", SAME, f"...{LAST}.json is not a snapshot of this version (its version is 2, and this afterkernel reads 1; a later one may read it): train the run again.", there(f"{LAST}.json", with_fields(version=2), RECORDS)),
]
# fmt: on

STORE = "tiles/step=0/ntk"


def T(done, sentence, path, change):  # noqa: N802
    return E(done, sentence, edited(f"{STORE}/{path}", change, "run_with_tiles"))


# fmt: off
TILES = [
    T("truncated tiles", f"run/{STORE}/train.npy is missing or damaged (...): remove its folder to start over.", "train.npy", lambda data: data[:300]),
    T("tiles of another type", f"run/{STORE}/train.npy has shape ... of ..., not ... of float32: remove its folder to start over.", "train.npy", lambda data: data.replace(b"<f4", b"<i4")),
    T("a truncated list of finished tiles", f"run/{STORE}/done.npy is missing or damaged (...): remove its folder to start over.", "done.npy", lambda data: data[:-3]),
    T("a truncated manifest", f"run/{STORE}/manifest.json can't be read (...): remove the folder to start over.", "manifest.json", lambda data: data[:40]),
    T("tiles of a later version", f"store=run/{STORE} holds the tiles of another job: its format is 99, not 1; remove it or name another folder.", "manifest.json", with_fields(format=99)),
    T("tiles of another network", f"store=run/{STORE} holds the tiles of another job: its ... is ..., not ...; remove it or name another folder.", "manifest.json", with_fields(weights="0" * 64)),
    T("tiles that would run a command", f"run/{STORE}/train.npy is missing or damaged (...): remove its folder to start over.", "train.npy", lambda data: b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n" + data),
]
# fmt: on


def two_sweeps_of_runs(at):
    at.run("all/default/run")
    other = at.run("all/other/run")
    record = read_records(other)[0]
    shutil.rmtree(other / RECORDS)
    write_record(other, replace(record, sweep="other"), 1)


def without_workspaces(at):
    at.run("sweep/run")
    at.patch.setattr("afterkernel.cli.dashboard.find_spec", lambda name: None)


def without_account(at):
    at.run("sweep/run")
    at.patch.delenv("WANDB_API_KEY", raising=False)
    at.patch.setenv("NETRC", str(at.folder / "netrc"))


def without_server(at):
    at.run("sweep/run")
    at.patch.setenv("WANDB_API_KEY", "a" * 40)
    at.patch.setattr("afterkernel.wandb.account.server", lambda: "http://127.0.0.1:9")


def damaged_views(at):
    at.run("sweep/run")
    at.write("sweep/dashboard/saved.json", "[")
    at.patch.setattr("afterkernel.cli.dashboard.check_server", lambda command: None)


def exported(change):
    """A run and a file of its records, whose bytes are changed."""

    def setup(at):
        export(read_records(at.run()), at.folder / "all.parquet")
        at.write("all.parquet", change((at.folder / "all.parquet").read_bytes()))

    return setup


def recorded(**changes):
    """A file of the records of a run with some fields changed, and of dictionaries some items."""

    def setup(at):
        records = [
            replace(
                one,
                **{
                    name: {**getattr(one, name), **value} if isinstance(value, dict) else value
                    for name, value in changes.items()
                },
            )
            for one in read_records(at.run())
        ]
        export(records, at.folder / "all.parquet")

    return setup


# fmt: off
RESULTS = [
    E("results of a folder that does not exist", "nowhere is not a directory (the current folder is ...): name a run, a sweep, or the folder of all sweeps.", None, "results nowhere"),
    E("a report of another file", "notes.txt is not a file that results --export wrote: name such a file, a run, a sweep, or the folder of all sweeps.", lambda at: at.write("notes.txt"), "report notes.txt"),
    E("a report of a file of records that is truncated", "all.parquet is damaged or was edited (its checksum is missing): restore the file that results --export wrote.", exported(lambda data: data[: len(data) // 2]), "report all.parquet"),
    E("results of a file of records that was changed", "all.parquet is damaged or was edited (its checksum does not match): restore the file that results --export wrote.", exported(lambda data: data[:9] + b"x" + data[10:]), "results all.parquet"),
    E("records added to a damaged file", ".../all.parquet is damaged or was edited (its checksum does not match): restore the file that results --export wrote.", exported(lambda data: data[:9] + b"x" + data[10:]), "results run --export all.parquet"),
    E("records written to a folder that does not exist", "--export .../nowhere/all.parquet: there is no folder .../nowhere: make it first.", lambda at: at.run(), "results run --export nowhere/all.parquet"),
    E("some of the records written to a file", "--where can't be combined with --export, which writes all records: leave it out.", lambda at: at.run(), "results run --where final --export all.parquet"),
    E("records of plugins written to a file without them", "all.parquet: its runs use plugins, without which it is not known which of their options are private: add plugins=[my_lab.nets] to the command.", recorded(config={"plugins": ["my_lab.nets"]}), "results all.parquet --export other.parquet"),
    E("the status of a file of records", "all.parquet is a file, and this needs the folders of runs: name a run, a sweep, or the folder of all sweeps.", exported(bytes), "status all.parquet"),
    E("an evaluation of a file of records", "all.parquet is not a run: it has no config.yaml; name a folder runs/SWEEP/RUN_ID.", exported(bytes), "evaluate all.parquet"),
    E("runs verified with an option that affects results", "svm.tol=1e-3 affects results, and verify computes those that are recorded: leave it out.", exported(bytes), "verify all.parquet svm.tol=1e-3"),
    E("runs verified with another kind", "arch=vgg affects results, and verify computes those that are recorded: leave it out.", exported(bytes), "verify all.parquet arch=vgg"),
    E("runs verified with an option without effect", "output_dir=x has no effect on verify: leave it out.", exported(bytes), "verify all.parquet output_dir=x"),
    E("runs verified with an unknown option", "all.parquet: mlp-...: dataset.rot is not an option: did you mean dataset.root?", exported(bytes), "verify all.parquet dataset.rot=x"),
    E("no run verified", "verify: --runs=0 is too small, it must be at least 1; python -m afterkernel verify --help shows its usage.", exported(bytes), "verify all.parquet --runs 0"),
    E("runs verified of a damaged file", "all.parquet is damaged or was edited (its checksum does not match): restore the file that results --export wrote.", exported(lambda data: data[:9] + b"x" + data[10:]), "verify all.parquet"),
    E("runs verified that were not finished", "all.parquet holds no run of a configuration whose last snapshot is recorded.", recorded(final=False), "verify all.parquet"),
    E("runs verified without their plugins", "all.parquet: mlp-...: it needs plugins, code that is imported only if you ask for it: add plugins=[my_lab.nets] to the command.", recorded(config={"plugins": ["my_lab.nets"]}), "verify all.parquet"),
    E("runs verified on other images", "all.parquet: mlp-...: the images here are not those that it was trained with: name their folder by dataset.root=DIR.", recorded(provenance={"data_sha256": "0"}), "verify all.parquet"),
    E("a W&B upload of a file of records", "all.parquet is a file, and this needs the folders of runs: name a run, a sweep, or the folder of all sweeps.", exported(bytes), "wandb-sync all.parquet"),
    E("cleaning a folder without runs", ". (the current folder, ...) contains no runs: there is no config.yaml and no records/*.json of a run below it.", None, "clean ."),
    E("cleaning a folder that does not exist", "nowhere is not a directory (the current folder is ...): name a run, a sweep, or the folder of all sweeps.", None, "clean nowhere --yes"),
    E("cleaning what is never removed", "--records is not an option of clean: python -m afterkernel clean --help lists them.", None, "clean . --records"),
    E("watching a folder without runs", ". (the current folder, ...) contains no runs: there is no config.yaml and no records/*.json of a run below it.", None, "status . --watch"),
    E("the status of a folder without runs", ". (the current folder, ...) contains no runs: there is no config.yaml and no records/*.json of a run below it.", None, "status ."),
    E("an option of an evaluation that is given twice", "svm.tol=1e-3 and svm.tol=1e-4 both set svm.tol: give it once.", lambda at: at.run(), "evaluate run svm.tol=1e-3 svm.tol=1e-4"),
    E("a condition and a query at once", "--where can't be combined with --sql: write it in the query.", lambda at: at.run(), "results run --where final --sql 'select 1 from results'"),
    E("a condition on a column that does not exist", "Can't pick rows by 'epok == 3': epok is not a column (write text in single quotes), but epoch is; --sql \"describe results\" lists the columns.", lambda at: at.run(), "results run --where 'epok == 3'"),
    E("an incomplete condition", "Can't pick rows by 'epoch = ': syntax error at or near \"=\" (character 7 of 8).", lambda at: at.run(), "results run --where 'epoch = '"),
    E("a condition that would run a command", "Can't pick rows by '__import__(...)': scalar Function with name system does not exist; --sql \"describe results\" lists the columns.", lambda at: at.run(), """results run --where '__import__("os").system("touch EXECUTED")'"""),
    E("a sort by a column that does not exist", "nope is not a column...; the first line of --csv lists all.", lambda at: at.run(), "results run --sort nope"),
    E("an empty list of columns", "',' names no column: give names separated by commas.", lambda at: at.run(), "results run --columns ,"),
    E("a dashboard of a folder that does not exist", "nowhere is not a directory (the current folder is ...): name a run, a sweep, or the folder of all sweeps.", None, "dashboard nowhere"),
    E("a dashboard of a folder without records", ". contains no readable records: there is no records/*.json of a run in it or below it.", None, "dashboard ."),
    E("a dashboard of one run", "run is one run, and a dashboard shows a sweep: name the folder that holds it.", lambda at: at.run(), "dashboard run"),
    E("a dashboard of all sweeps at once", "all holds 2 sweeps (default, other): name the folder of one of them.", two_sweeps_of_runs, "dashboard all"),
    E("a dashboard in a project with an invalid name", "--project=a/b is not a valid W&B name: leave out / \\ # ? % :.", lambda at: at.run("sweep/run"), "dashboard sweep --project=a/b"),
    E("a dashboard for an empty entity", "--entity= is not a valid W&B name: leave out / \\ # ? % :.", lambda at: at.run("sweep/run"), "dashboard sweep --entity="),
    E("a dashboard without the package that builds it", "dashboard needs wandb-workspaces: pip install 'afterkernel[dashboard]'.", without_workspaces, "dashboard sweep"),
    E("a dashboard uploaded without an account", "no W&B account is known here: run `wandb login`, or set WANDB_API_KEY.", without_account, "dashboard sweep --upload"),
    E("a dashboard uploaded without a network connection", "http://127.0.0.1:9 can't be reached (...): run dashboard --upload where there is a network.", without_server, "dashboard sweep --upload"),
    E("a dashboard whose list of saved views is damaged", "sweep/dashboard/saved.json can't be read (Expecting value: line 1 column 2 (char 1)): remove it to save new views.", damaged_views, "dashboard sweep --upload --entity=us"),
    E("a W&B upload of a folder without W&B runs", ". holds no offline W&B run: there is no wandb/offline-run-* below it.", None, "wandb-sync ."),
]
# fmt: on
