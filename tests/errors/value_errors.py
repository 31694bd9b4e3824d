"""Errors in the values of options: numbers, lists, texts, references, sizes; and overrides that would run code."""

import os

from error_case import ErrorCase

M = ErrorCase
NINES = "9" * 5000


def environment(**variables):
    def setup(at):
        for name, value in variables.items():
            at.patch.setenv(name, value)

    return setup


# fmt: off
NUMBERS = [
    M("an infinite learning rate", "training.lr=inf", "training.lr=inf is not finite: give a finite number."),
    M("a learning rate larger than float64 holds", "training.lr=1e400", "training.lr=inf is not finite: give a finite number."),
    M("an infinite loss target", "training.loss_target=inf", "training.loss_target=inf is not finite: give a finite number."),
    M("an infinite time between checkpoints", "trainer.checkpoint_every_s=inf", "trainer.checkpoint_every_s=inf is not finite: give a finite number."),
    M("an infinite soft margin weight", "svm.soft_C=1e400", "svm.soft_C=inf is not finite: give a finite number."),
    M("a soft margin weight that would overflow", "svm.soft_C=1e-300", "svm.soft_C=1e-300 is too small: it must be at least 1e-12."),
    M("an infinite shift of augmentation", "training.augment_shift_px=-inf", "training.augment_shift_px=-inf is not finite: give a finite number."),
    M("a shift of augmentation larger than the image", "training.augment=rotation_shift training.augment_shift_px=1e300", "training.augment_shift_px=1e+300 moves 8x8 images entirely out of the frame: give less than 8."),
    M("a tolerance above 1", "svm.tol=2", "svm.tol=2.0 is too large: it must be at most 1."),
    M("a negative momentum", "training.momentum=-0.5", "training.momentum=-0.5 is too small: it must be at least 0."),
    M("a momentum of 1", "training.momentum=1", "training.momentum=1.0 is too large: it must be at most 0.9999."),
    M("a negative weight decay", "training.weight_decay=-0.1", "training.weight_decay=-0.1 is too small: it must be at least 0."),
    M("more wrong labels than labels", "training.label_noise=1.5", "training.label_noise=1.5 is too large: it must be at most 1."),
    M("an output scale of 0", "training.output_scale=0", "training.output_scale=0.0 is too small: it must be at least 0.0001."),
    M("an output scale that float32 can't train", "training.output_scale=1e6", "training.output_scale=1000000.0 is too large: it must be at most 10000."),
    M("a batch size of 21 digits", "training.batch_size=100000000000000000000", "training.batch_size=100000000000000000000 is too large: it must be at most 2147483647."),
    M("a seed of 5,000 digits", f"seed={NINES}", "seed=9999...... can't be read: it contains a number with too many digits, or lists nested too deeply."),
    M("a seed of 100 digits", f"seed={NINES[:100]}", "seed=(a number of more than 60 digits) is too large: it must be at most 2147483647."),
    M("a rotation of 1e300 radians", "measure.angle_rad=[1e300]", "measure.angle_rad=1e+300 is too large: it must be at most 3.14159."),
    M("a crop that keeps no pixel", "measure.crop_fraction=[1e-9]", "measure.crop_fraction=1e-09 keeps less than one pixel of a side of 8x8 images: give at least 0.125."),
    M("more threads than any machine has", "trainer.threads=100000", "trainer.threads=100000 is too large: it must be at most 1024."),
    M("a parameter budget of 1e18", "arch=vgg arch.width=null arch.budget=1000000000000000000", "arch.budget=1000000000000000000 is too large: it must be at most 1000000000000."),
    M("a parameter budget larger than the memory", "arch=vgg arch.width=null arch.budget=900000000000", "arch.budget=900000000000 is too large: vgg of width ... has about 9e+11 parameters, which do not fit into this machine's memory of ... GiB."),
    M("a width larger than the memory", "arch.width=1000000000", "arch.width=1000000000 is too large: mlp of width 1000000000 has about 3e+18 parameters, which do not fit into this machine's memory of ... GiB."),
    M("a billion layers", "arch.num_layers=1000000000", "arch.num_layers=1000000000 is too large: it must be at most 1000."),
    M("a memory budget of 20 digits", "kernel.budget_bytes=99999999999999999999", "kernel.budget_bytes=99999999999999999999 is too large: it must be at most 9007199254740992."),
    M("ten million eigenvalues", "measure.eigenvalues=10000000", "measure.eigenvalues=10000000 is too large: it must be at most 1000."),
    M("a whole number written as a fraction", "seed=1.0", "seed=1.0 has the wrong type: it must be a whole number."),
    M("true where a number is expected", "training.epochs=true", "training.epochs=true has the wrong type: it must be a whole number."),
]

LISTS = [
    M("one kernel twice", "kernel.names=[ntk,ntk]", "kernel.names=[ntk,ntk] names ntk twice: give each value once."),
    M("one measure twice", "measure.names=[ridge,spectrum,ridge]", "measure.names=[ridge,spectrum,ridge] names ridge twice: give each value once."),
    M("one snapshot twice", "snapshot.epochs=[0,1,1]", "snapshot.epochs=[0,1,1] names 1 twice: give each value once."),
    M("one artifact twice", "keep=[gram,gram]", "keep=[gram,gram] names gram twice: give each value once."),
    M("one claim twice", "sweep.claims=[c1,c1]", "sweep.claims=[c1,c1] names c1 twice: give each value once."),
    M("a list within a list", "snapshot.epochs=[[0],1]", "snapshot.epochs=[[0],1] has the wrong type: it must be a list of whole numbers, such as [0,1,2]."),
    M("null in a list", "snapshot.epochs=[null]", "snapshot.epochs=[null] has the wrong type: it must be a list of whole numbers, such as [0,1,2]."),
    M("an infinite strength in a list", "measure.angle_rad=[0.1,inf]", "measure.angle_rad=inf is not finite: give a finite number."),
    M("ranks that are not a range", "measure.decay_ranks=[100,5]", "measure.decay_ranks=[100,5] is not a range of ranks: give the first and the last, such as [11,100], 3 ranks at least."),
    M("a list of 12,000 values", f"snapshot.epochs=[{','.join(map(str, range(12000)))}]", "snapshot.epochs=[0,1,2,...... has more than 10,000 values: give fewer, or a range."),
]

TEXTS = [
    M("a name that is not valid UTF-8", "output_dir=\"'a\udcffb'\"", "output_dir='a\\udcffb' is not valid UTF-8: use UTF-8, or set LC_ALL=C.UTF-8 where the locale is C."),
    M("a line break in a folder's name", "output_dir=\"'a\nb'\"", "output_dir='a\\nb' holds a control character: write plain text on one line."),
    M("an accent without quotes", "output_dir=résultats", "output_dir=résultats can't be read: write commas between several values, and quotes around special characters, as \"output_dir='résultats'\"."),
    M("a folder's name of spaces", "output_dir=\"' '\"", "output_dir is empty: name the folder that results go to, such as runs."),
    M("a sweep's name of 65 characters", f"sweep.name={65 * 'a'}", "sweep.name=aaaaaaaaaaaaaaaaaaaa... is too long: give at most 64 characters."),
    M("a W&B project with a slash", "logger=wandb logger.wandb.project=a/b", "logger.wandb.project=a/b is not a valid W&B name: leave out / \\ # ? % :."),
    M("a W&B team without a name", "logger=wandb logger.wandb.entity=", "logger.wandb.entity= is not a valid W&B name: leave out / \\ # ? % :."),
    M("an unknown WANDB_MODE", "logger=wandb", "WANDB_MODE=quiet is not known: set it to online, offline or disabled, or unset it.", environment(WANDB_MODE="quiet")),
]

REFERENCES = [
    M("a reference to an option that does not exist", "training.lr=${nope}", "training.lr=${nope}: ${nope} refers to an option that does not exist: name one, such as ${training.lr}."),
    M("a reference to itself", "training.lr=${training.lr}", "training.lr=${training.lr}: it refers to itself: give a value."),
    M("a reference to the run id", "sweep.name=${run_id:}", "sweep.name=${run_id:}: ${run_id:...} is not a valid reference: write ${OPTION} or ${oc.env:VARIABLE}."),
    M("a reference of an unknown kind", "training.lr=${import:os}", "training.lr=${import:os}: ${import:...} is not a valid reference: write ${OPTION} or ${oc.env:VARIABLE}."),
    M("a reference to a variable that is not set", "training.lr=${oc.env:AFTERKERNEL_NOPE}", "training.lr=${oc.env:AFTERKERNEL_NOPE}: the environment variable AFTERKERNEL_NOPE is not set: set it, or write ${oc.env:AFTERKERNEL_NOPE,DEFAULT}."),
    M("a reference to a value of another type", "seed=${training.lr}", "seed=${training.lr}: ${training.lr} can't be converted to its type (Value '0.01' of type 'float' could not be converted to Integer)."),
]

CODE_RUNS = "_target_ would run code, which no option and no file may do."
# A sibling of os.system that the tests could see.
TARGET = f"{os.__name__}.mkdir"
CODE = [
    M("a pickled job to run again", "--experimental-rerun=job.pickle", "--experimental-rerun is not available: it loads a pickle, which can run code; give the same options again.", lambda at: at.write("job.pickle", b"cos\nmkdir\n(VEXECUTED\ntR."), small=False),
    M("a callback of Hydra", f"+hydra.callbacks.x._target_={TARGET} +hydra.callbacks.x.path=EXECUTED", f"+hydra.callbacks.x._target_={TARGET}: {CODE_RUNS}"),
    M("a callback within a value", f"+hydra.callbacks={{x:{{_target_:{TARGET},path:EXECUTED}}}}", f"+hydra.callbacks={{x:{{_target_:{TARGET},path:EXECUTED}}}}: {CODE_RUNS}"),
    M("code in place of a section", f"training={{_target_:{TARGET}}}", f"training={{_target_:{TARGET}}}: {CODE_RUNS}"),
    M("code added to a section", f"+arch._target_={TARGET}", f"+arch._target_={TARGET}: {CODE_RUNS}"),
    M("code in one value of a sweep", f"--multirun arch={{_target_:{TARGET}}},mlp", f"arch={{_target_:{TARGET}}},mlp: {CODE_RUNS}"),
    M("a launcher that is code", f"hydra.launcher._target_={TARGET}", f"hydra.launcher._target_={TARGET}: {CODE_RUNS}"),
    M("a logging handler of Hydra", "+hydra.job_logging.handlers.x.class=os.mkdir", "hydra.job_logging.handlers.x.class is a setting of Hydra that can't be changed here."),
    M("a different search path for configuration files", "hydra.searchpath=[file:///tmp]", "hydra.searchpath is a setting of Hydra that can't be changed here."),
    M("a configuration file outside the search path", "experiment=../../../tmp/x", "experiment=../../../tmp/x is not known: choose one of mnist_mlp, mnist_vgg."),
    M("a sweep file outside the search path", "+sweep=../x", "sweep=../x is not known: choose one of all, c1, c2, c3, c4, c5, c6, demo, paper, paper_augmented, paper_cifar_mlp, paper_classifiers, paper_classifiers_vgg, paper_resnet, paper_slow, paper_ten_classes, ten_classes."),
    M("a choice placed in Hydra's settings", "+arch@hydra.callbacks=vgg", "+arch@hydra.callbacks=vgg: a choice can't be placed elsewhere: write arch=NAME.", small=False),
    M("a different sweeper, which has no dry run", "--multirun hydra/sweeper=basic seed=0,1 sweep.dry_run=true", "hydra/sweeper is a setting of Hydra that can't be changed here: write OPTION=VALUE,VALUE with --multirun, or a file sweeps/NAME.yaml."),
    M("a launcher of Hydra", "hydra/launcher=joblib", "hydra/launcher is a setting of Hydra that can't be changed here: choose with launcher=NAME."),
    M("an option of Hydra's launcher", "hydra.launcher.n_jobs=4", "hydra.launcher.n_jobs is a setting of Hydra that can't be changed here: choose with launcher=NAME."),
    M("another folder for a run", "hydra.run.dir=x", "hydra.run.dir is a setting of Hydra that can't be changed here: choose where results go with output_dir and sweep.name."),
    M("another working directory", "hydra.job.chdir=true", "hydra.job.chdir is a setting of Hydra that can't be changed here: choose where results go with output_dir and sweep.name."),
    M("no folder for Hydra's own files", "hydra.output_subdir=null", "hydra.output_subdir is a setting of Hydra that can't be changed here: choose where results go with output_dir and sweep.name."),
]

DELETED = [
    M("a deleted group", "~measure", "measure can't be deleted: choose another, as measure=NAME."),
    M("a deleted option", "~seed", "seed can't be deleted: give it a value, as seed=VALUE."),
    M("a deleted setting of Hydra", "~hydra.sweeper", "hydra.sweeper is a setting of Hydra that can't be changed here: write OPTION=VALUE,VALUE with --multirun, or a file sweeps/NAME.yaml."),
    M("null for a choice", "arch=null", "arch=null is not known: choose one of mlp, resnet, sum, vgg, vit.", small=False),
    M("two choices at once", "measure=[ridge,spectrum]", "measure=[ridge,spectrum] is not a valid choice: choose one name, as measure=NAME; one of ..."),
    M("a dictionary in place of a choice", "training={lr:0.1}", "training={lr:0.1} is not a valid choice: choose one name, as training=NAME; one of sgd, sgd_rotation, sgd_rotation_shift."),
    M("a sweep file without a plus sign", "sweep=demo", "sweep=demo: write +sweep=demo, with one plus sign, to run the sweep of a file."),
]

SUGGESTIONS = [
    M("an option of other libraries", "training.nesterov=true", "training.nesterov is not an option: python -m afterkernel --help all lists all options."),
    M("an option without its section", "lr=0.1", "lr is not an option: did you mean training.lr?"),
    M("an option of other libraries in its section", "training.learning_rate=0.1", "training.learning_rate is not an option: did you mean training.lr?"),
    M("an option without an equals sign", "training.lr 0.1", "'training.lr' is neither a command nor an option: write options as name=value, such as training.lr=0.1.", small=False),
    M("a misspelt section", "trainig.lr=0.1", "trainig.lr is not an option: did you mean training.lr?"),
    M("two letters exchanged", "arch.widht=3", "arch.widht is not an option: did you mean arch.width?"),
    M("a misspelt command", "evaluat run", "'evaluat' is neither a command nor an option: did you mean evaluate?", small=False),
    M("help without dashes", "help", "'help' is neither a command nor an option: did you mean --help?", small=False),
    M("a misspelt flag", "--multirn seed=0,1", "--multirn is not an option of the command line: did you mean --multirun?", small=False),
    M("a misspelt flag of a command", "report x --ouput=y", "--ouput=y is not an option of report: did you mean --output?", small=False),
    M("a part of the configuration to print", "--cfg job --package=training", "--package is not available: --cfg job prints the whole configuration.", small=False),
    M("two exclusive flags", "--cfg job --multirun", "--cfg, --info and --multirun can't be combined: give one of them.", small=False),
    M("several values to print", "--cfg job seed=0,1", "seed=0,1 names several values, and --cfg and --info show one run: give one of them.", small=False),
    M("several values for a plan", "plan arch=vgg,mlp", "arch=vgg,mlp: plan takes one value for each option: give one of them.", small=False),
    M("a sweep for a plan", "plan +sweep=demo", "+sweep=demo: plan works on one run, not on a sweep: leave it out.", small=False),
]

GRIDS = [
    M("a sweep of a billion runs", "--multirun seed=range(1000000000)", "the sweep has 1,000,000,000 runs, more than sweep.max_runs=10000: sweep over fewer values, or set a larger sweep.max_runs."),
    M("a sweep of 100,000 runs over two options", "--multirun seed=range(1000) training.batch_size=range(1,101)", "the sweep has 100,000 runs, more than sweep.max_runs=10000: sweep over fewer values, or set a larger sweep.max_runs."),
    M("a sweep of more runs than sweep.max_runs", "--multirun seed=0,1 sweep.max_runs=1", "the sweep has 2 runs, more than sweep.max_runs=1: sweep over fewer values, or set a larger sweep.max_runs."),
    M("a limit of no runs", "--multirun seed=0,1 sweep.max_runs=0", "sweep.max_runs=0 is too small: it must be at least 1."),
    M("a sweep of 20,000 values written out", f"--multirun seed={','.join(map(str, range(20000)))}", "seed=0,1,2,...... has more than 10,000 values: give fewer, or a range."),
    M("an infinite range", "--multirun seed=range(0,1e400)", "seed=range(0,1e400) has no end: give range(START,STOP,STEP) in finite numbers, STEP not 0."),
    M("a range with step 0", "--multirun seed=range(0,10,0)", "seed=range(0,10,0) has no end: give range(START,STOP,STEP) in finite numbers, STEP not 0."),
    M("an interval", "--multirun training.lr=interval(0,1)", "training.lr=interval(0,1) is not a list of values: write A,B or range(START,STOP)."),
    M("all choices by a pattern", "--multirun arch=glob(*)", "arch=glob(*): write out the names, as arch=A,B: choose from mlp, resnet, sum, vgg, vit.", small=False),
    M("a range without --multirun", "seed=range(3)", "seed=range(3) names several values: add --multirun to sweep over them."),
    M("an infinite value in one job of a grid", "--multirun training.lr=0.1,inf", "job training.lr=inf: training.lr=inf is not finite: give a finite number."),
]
# fmt: on
