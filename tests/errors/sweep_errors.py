"""Errors in sweep files: invalid YAML, values that are not a grid, code."""

from error_case import ErrorCase

M = ErrorCase

GRID = "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"


def sweep(text, name="mine"):
    return lambda at: at.write(f"sweeps/{name}.yaml", text)


def two_sweeps(at):
    sweep(GRID + "      seed: 0,1\n", "first")(at)
    sweep(GRID + "      seed: 2,3\n", "second")(at)


# fmt: off
SWEEPS = [
    M("an unknown sweep", "+sweep=nope", "sweep=nope is not known: choose one of all, c1, c2, c3, c4, c5, c6, demo, paper, paper_augmented, paper_cifar_mlp, paper_classifiers, paper_classifiers_vgg, paper_resnet, paper_slow, paper_ten_classes, ten_classes."),
    M("a sweep file that is not YAML", "+sweep=mine", "sweeps/mine.yaml can't be read as YAML: expected the node content, but found '<stream end>', in line 1.", sweep("arch: [")),
    M("a sweep file that is not text", "+sweep=mine", "sweeps/mine.yaml can't be read as YAML: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte.", sweep(b"\xff\x00")),
    M("a sweep file that is a list", "+sweep=mine", "sweeps/mine.yaml is not a sweep: it must contain options, each as name: value, as sweeps/demo.yaml does.", sweep("- arch: vgg\n")),
    M("a sweep file that is empty", "+sweep=mine", "sweeps/mine.yaml is empty: name what is swept, as sweeps/demo.yaml does.", sweep("")),
    M("a sweep over nothing", "+sweep=mine", "sweeps/mine.yaml sweeps over nothing: give hydra.sweeper.params an option with values.", sweep(GRID)),
    M("values to sweep over that can't be read", "+sweep=mine", "sweeps/mine.yaml: hydra.sweeper.params.seed=0;1 can't be read: write values with commas between them, such as 0,1,2 or range(5).", sweep(GRID + "      seed: 0;1\n")),
    M("values to sweep over as a YAML list", "+sweep=mine", 'sweeps/mine.yaml: hydra.sweeper.params.arch=["vgg", "mlp"] is one value: write vgg,mlp to sweep over several.', sweep(GRID + "      arch: [vgg, mlp]\n")),
    M("a misspelt option in a sweep file", "+sweep=mine", "sweeps/mine.yaml: training.lrr is not an option: did you mean training.lr?", sweep("training:\n  lrr: 3\n")),
    M("a wrong type in a sweep file", "+sweep=mine", "sweeps/mine.yaml: training.lr=fast has the wrong type: it must be a number.", sweep("training:\n  lr: fast\n")),
    M("a value for a whole group in a sweep file", "+sweep=mine", "sweeps/mine.yaml: training=5 is not a section: write its options below it, each as name: value.", sweep("training: 5\n")),
    M("a misspelt option in the grid", "+sweep=mine", "job training.lrr=1...: training.lrr is not an option: did you mean training.lr?", sweep(GRID + "      training.lrr: 1,2\n")),
    M("a wrong value in one job of a grid", "--multirun seed=0,x", "job seed=x...: seed=x has the wrong type: it must be a whole number."),
    M("a semicolon between values", "--multirun seed=0;1", "seed=0;1 can't be read: write commas between several values, and quotes around special characters, as \"seed='0;1'\"."),
    M("two equal runs in a grid", "--multirun seed=1,1", "job ... and job ... are the same run: remove one of them."),
    M("a file of recorded runs that does not exist", "--multirun seed=0,1 sweep.recorded=nope.parquet", "sweep.recorded=nope.parquet: there is no such file; name one that results --export wrote."),
    M("a file of recorded runs that is another file", "--multirun seed=0,1 sweep.recorded=a.txt", "sweep.recorded=a.txt: a.txt is not a file that results --export wrote: name such a file, a run, a sweep, or the folder of all sweeps.", lambda at: at.write("a.txt", "x")),
    M("a file of recorded runs that is damaged", "sweep.recorded=a.parquet", "sweep.recorded=a.parquet: a.parquet is damaged or was edited (its checksum is missing): restore the file that results --export wrote.", lambda at: at.write("a.parquet", "PAR1")),
    M("a folder of recorded runs", "sweep.recorded=.", "sweep.recorded=.: . is a directory, where a regular file is expected."),
    M("two sweep files at once", "+sweep=first,second", "+sweep=first,second names several files, whose grids can't be joined: run them one by one.", two_sweeps),
]
# fmt: on


CODE_RUNS = "_target_ would run code, which no option and no file may do."
HERE = "sweeps/mine.yaml"


def S(done, sentence, text):  # noqa: N802
    return M(done, "+sweep=mine", sentence, sweep(text))


# fmt: off
SWEEP_FILES = [
    S("a list of values to sweep over", f'{HERE}: hydra.sweeper.params=["seed=0,1"] is not a mapping: write one OPTION: VALUE,VALUE in each line below it.', GRID + "      - seed=0,1\n"),
    S("a string of values to sweep over", f'{HERE}: hydra.sweeper.params="seed=0,1" is not a mapping: write one OPTION: VALUE,VALUE in each line below it.', "hydra:\n  sweeper:\n    params: seed=0,1\n"),
    S("a sweeper that is a string", f"{HERE}: hydra.sweeper takes only params, with one option and its values in each line.", "hydra:\n  sweeper: seed=0,1\n"),
    S("an option without values", f"{HERE}: hydra.sweeper.params.seed= is not a list of values: write 0,1,2 or range(5).", GRID + "      seed:\n"),
    S("a callback in a sweep file", f"{HERE}: {CODE_RUNS}", "hydra:\n  callbacks:\n    x:\n      _target_: os.mkdir\n      path: EXECUTED\n"),
    S("code in a section of a sweep file", f"{HERE}: {CODE_RUNS}", "training:\n  _target_: os.mkdir\n"),
    S("a logging handler in a sweep file", f"{HERE}: hydra.job_logging can't be set in a file: only hydra.mode and hydra.sweeper.params can.", "hydra:\n  job_logging:\n    handlers: {x: {(): os.mkdir}}\n"),
    S("a callback swept over", f"{HERE}: hydra.sweeper.params.hydra.callbacks.x._target_ is a setting of Hydra, which can't be swept over.", GRID + "      hydra.callbacks.x._target_: os.mkdir\n"),
    S("code swept over", f"{HERE}: hydra.sweeper.params.+arch._target_: +arch._target_=os.mkdir: {CODE_RUNS}", GRID + "      +arch._target_: os.mkdir\n"),
    S("values to sweep over by reference", f"{HERE}: hydra.sweeper.params.seed=${{oc.env:HOME}} is not a list of values: write 0,1,2 or range(5).", GRID + "      seed: ${oc.env:HOME}\n"),
    S("Hydra's callbacks among the defaults", f'{HERE}: defaults can\'t hold {{"/hydra/callbacks": "x"}}: write choices of ... alone, as - override /dataset: mnist.', "defaults:\n  - /hydra/callbacks: x\n"),
    S("another sweeper among the defaults", f'{HERE}: defaults can\'t hold {{"override /hydra/sweeper": "basic"}}: write choices of ... alone, as - override /dataset: mnist.', "defaults:\n  - override /hydra/sweeper: basic\n"),
    S("a file outside the search path among the defaults", f"{HERE}: dataset=../../x is not known: choose one of ...", "defaults:\n  - override /dataset: ../../x\n"),
    S("a YAML tag that names code", f"{HERE} can't be read: its tag !!python/object/apply:os.mkdir names code, not data.", "training: !!python/object/apply:os.mkdir [EXECUTED]\n"),
    S("YAML aliases", f"{HERE} can't be read as YAML: it has aliases (*a): write the values out.", "sweep: &a {name: x}\nlogger: *a\n"),
    S("deeply nested YAML", f"{HERE} can't be read as YAML: it is nested more than 50 levels deep.", "[" * 3000),
    S("a dotted option in a sweep file", f"{HERE}: training.lr is not a section of the configuration: write it nested, as training: with lr: below it.", "training.lr: 0.1\n"),
    S("a sweep of sweeps", f"{HERE}: hydra.sweeper.params.+sweep: a sweep can't go over other sweeps: run them one by one.", GRID + "      +sweep: demo\n"),
    S("an unknown architecture in a grid", f"{HERE}: hydra.sweeper.params.arch: arch=vgx is not known (did you mean vgg?): choose one of mlp, resnet, sum, vgg, vit.", GRID + "      arch: mlp,vgx\n"),
    S("a million runs in a sweep file", "the sweep has 1,000,000 runs, more than sweep.max_runs=10000: sweep over fewer values, or set a larger sweep.max_runs.", GRID + "      seed: range(1000000)\n"),
    S("a number for values to sweep over", f"{HERE}: hydra.sweeper.params=5 is not a mapping: write one OPTION: VALUE,VALUE in each line below it.", "hydra:\n  sweeper:\n    params: 5\n"),
    S("a sweeper that is null", f"{HERE}: hydra.sweeper takes only params, with one option and its values in each line.", "hydra:\n  sweeper:\nseed: 1\n"),
    S("values to sweep over in a single run", f"{HERE}: hydra.mode=RUN has no values to sweep over: leave out either it or hydra.sweeper.", GRID.replace("MULTIRUN", "RUN") + "      seed: 1,2\n"),
    S("a mode in small letters", f"{HERE}: hydra.mode=multirun is not known: choose one of MULTIRUN, RUN.", "hydra:\n  mode: multirun\n"),
    S("tabs in a sweep file", f"{HERE} can't be read as YAML: found character '\\t' that cannot start any token, in line 2.", "hydra:\n\tmode: MULTIRUN\n"),
    S("a duplicate key", f"{HERE} can't be read as YAML: seed appears twice, in line 2.", "seed: 1\nseed: 2\n"),
    S("two documents in a sweep file", f"{HERE} can't be read as YAML: expected a single document in the stream ...", "seed: 1\n---\nseed: 2\n"),
    S("a sweep file that contains only a number", f"{HERE} can't be read as YAML: Invalid loaded object type: int.", "5\n"),
    S("a value that YAML reads in base 60", f"{HERE} can't be read as YAML: 1:30, in line 5, is not a plain number: write it in decimal digits, or in quotes as text.", GRID + "      seed: 1:30\n"),
    S("a value that YAML reads in base 8", f"{HERE} can't be read as YAML: 010, in line 1, is not a plain number: write it in decimal digits, or in quotes as text.", "seed: 010\n"),
    S("a value that YAML reads in base 16", f"{HERE} can't be read as YAML: 0x10, in line 1, is not a plain number: write it in decimal digits, or in quotes as text.", "seed: 0x10\n"),
    S("a digit group in a sweep file", f"{HERE} can't be read as YAML: 1_0, in line 1, is not a plain number: write it in decimal digits, or in quotes as text.", "seed: 1_0\n"),
    S("values on two lines", f"{HERE}: hydra.sweeper.params.seed=1\\n2\\n can't be read: write values with commas between them, such as 0,1,2 or range(5).", GRID + "      seed: |\n        1\n        2\n"),
    S("a plus sign before an option in a grid", "job +seed=1...: seed has a value already: write seed=VALUE, without a plus sign.", GRID + "      +seed: 1,2\n"),
    S("an option deleted in a grid", f"{HERE}: hydra.sweeper.params.~seed is not the name of an option.", GRID + "      ~seed: 1,2\n"),
    S("a launcher in a grid", f"{HERE}: hydra.sweeper.params.hydra/launcher is a setting of Hydra, which can't be swept over.", GRID + "      hydra/launcher: basic\n"),
    S("2 for true in the grid of a file", f"{HERE}: hydra.sweeper.params.training.centered_output: training.centered_output=2 has the wrong type: it must be true or false.", GRID + "      training.centered_output: true,2\n"),
    S("5 for true in a sweep file", f"{HERE}: training.centered_output=5 has the wrong type: it must be true or false.", "training:\n  centered_output: 5\n"),
    S("true for a folder in a sweep file", f"{HERE}: output_dir=true would be read as the text True: put quotes around it.", "output_dir: true\n"),
    S("null for a name", f"{HERE}: sweep.name=null has the wrong type: it must be a string.", "sweep:\n  name:\n"),
    S("null for a section", f"{HERE}: training=null is not a section: write its options below it, each as name: value.", "training:\n"),
    S("a list for a section", f'{HERE}: training=["lr"] is not a section: write its options below it, each as name: value.', "training: [lr]\n"),
    S("a choice as the value of its section", f'{HERE}: arch="vgg" is not a section: write its options below it, each as name: value.', "arch: vgg\n"),
    S("a name for a list in a sweep file", f"{HERE}: keep=gram has the wrong type: it must be a list of names, such as [gram,checkpoint].", "keep: gram\n"),
    S("a dictionary for a list in a sweep file", f'{HERE}: keep={{"a":1}} has the wrong type: it must be a list of names, such as [gram,checkpoint].', "keep: {a: 1}\n"),
    S("null for a list in a sweep file", f"{HERE}: keep=null has the wrong type: it must be a list of names, such as [gram,checkpoint].", "keep:\n"),
    S("a placeholder in a sweep file", f"{HERE}: seed=??? has no value: give one.", "seed: ???\n"),
    S("a placeholder in a list of a sweep file", f"{HERE}: keep=??? has no value: give one.", "keep: ['???']\n"),
    S("a reference to Hydra in a sweep file", f"{HERE}: output_dir=${{hydra:run.dir}}: ${{hydra:...}} is not a valid reference: write ${{OPTION}} or ${{oc.env:VARIABLE}}.", "output_dir: ${hydra:run.dir}\n"),
    S("defaults that are null", f"{HERE}: defaults can't hold null: write choices of ... alone, as - override /dataset: mnist.", "defaults:\nseed: 1\n"),
    S("a logger twice among the defaults", f"{HERE}: logger=[csv,csv] names csv twice: give each once.", "defaults:\n  - override /logger: [csv, csv]\nseed: 1\n"),
    S("an unknown logger among the defaults", f"{HERE}: logger=aim is not known: choose one of csv, mlflow, none, tensorboard, wandb.", "defaults:\n  - override /logger: [csv, aim]\nseed: 1\n"),
    S("defaults that name a group twice", f"{HERE}: defaults name arch twice: name it once.", "defaults:\n  - override /arch: vgg\n  - override /arch: mlp\n"),
    S("defaults with _self_ twice", f"{HERE}: defaults name _self_ twice: name it once.", "defaults: [_self_, _self_]\nseed: 1\n"),
    S("defaults without override", f'{HERE}: defaults can\'t hold {{"arch": "vgg"}}: write choices of ... alone, as - override /dataset: mnist.', "defaults:\n  - arch: vgg\n"),
    S("a search path in a sweep file", f"{HERE}: hydra.searchpath can't be set in a file: only hydra.mode and hydra.sweeper.params can.", "hydra:\n  searchpath: [file:///tmp]\n"),
    S("a sweep file of 11 MB", f"{HERE} is too large (11,000,010 bytes): at most 10,000,000 are read.", "# " + "x" * 11_000_000 + "\nseed: 1"),
]
# fmt: on
