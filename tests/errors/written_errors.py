"""Values as they are written: truth, text that looks like a number, placeholders, references, names, functions."""

from error_case import ErrorCase

M = ErrorCase


def W(done, words, sentence):  # noqa: N802
    return M(done, words, f"{words.partition(' ')[0]} {sentence}" if sentence.startswith("has ") else sentence)


# fmt: off
WRITTEN = [
    W("2 for true", "training.centered_output=2", "has the wrong type: it must be true or false."),
    W("1 for true", "kernel.resumable=1", "has the wrong type: it must be true or false."),
    W("a word for true", "training.centered_output=ja", "has the wrong type: it must be true or false."),
    M("a quoted number for true", "'training.centered_output=\"1\"'", "training.centered_output=1 has the wrong type: it must be true or false."),
    M("2 for true in a grid", "--multirun training.centered_output=true,2", "training.centered_output=2 has the wrong type: it must be true or false."),
    W("a name that is read as a number", "sweep.name=1e3", "sweep.name=1e3 would be read as the text 1000.0: write quotes within quotes, as \"sweep.name='1e3'\"."),
    W("a name with an underscore between digits", "sweep.name=1_0", "sweep.name=1_0 would be read as the text 10: write quotes within quotes, as \"sweep.name='1_0'\"."),
    W("a folder called true", "output_dir=true", "output_dir=true would be read as the text True: write quotes within quotes, as \"output_dir='true'\"."),
    M("names in a grid that are read as numbers", "--multirun sweep.name=1e3,b", "sweep.name=1e3,b would be read as the text 1000.0: put quotes around each text, and around the whole argument."),
    M("a placeholder for a value", "seed=???", "seed=??? has no value: give one."),
    M("a placeholder in a list", "keep=[???]", "keep=??? has no value: give one."),
    M("a reference to Hydra's settings", "'output_dir=${hydra:run.dir}'", "output_dir=${hydra:run.dir}: ${hydra:...} is not a valid reference: write ${OPTION} or ${oc.env:VARIABLE}."),
    M("a reference to the version of Python", "'output_dir=${python_version:}'", "output_dir=${python_version:}: ${python_version:...} is not a valid reference: write ${OPTION} or ${oc.env:VARIABLE}."),
    M("a reference to a deprecated option", "'output_dir=${oc.deprecated:seed}'", "output_dir=${oc.deprecated:seed}: ${oc.deprecated:...} is not a valid reference: write ${OPTION} or ${oc.env:VARIABLE}."),
    M("a reference to a whole section", "'training.lr=${training}'", "training.lr=${training}: it can't be resolved (Interpolation to parent node detected)."),
    M("a pattern for numbers", "'seed=glob(*)'", "seed=glob(*) is not a list of values: write A,B or range(START,STOP)."),
    M("an interval without --multirun", "'training.lr=interval(0,1)'", "training.lr=interval(0,1) is not a list of values: write A,B or range(START,STOP)."),
    M("a function that does not exist", "'seed=nope(1)'", "seed=nope(1) can't be read (Unknown function 'nope'): write values as A,B or range(START,STOP), and quotes around text."),
    M("a range of letters", "'seed=range(a,b)'", "seed=range(a,b) can't be read (...): write values as A,B or range(START,STOP), and quotes around text."),
    M("an empty choice", "'seed=choice()'", "seed=choice() can't be read (empty choice is not legal): write values as A,B or range(START,STOP), and quotes around text."),
    M("a plus sign before an option that exists", "+seed=1", "seed has a value already: write seed=VALUE, without a plus sign."),
]

NAMES = [
    M("an empty argument", "''", "'' is neither a command nor an option: write options as name=value, and see --help."),
    M("a space before a name", "' seed=0'", "' seed=0' can't be read: ' seed' is not the name of an option; write options as name=value."),
    M("a space after a name", "'seed =0'", "'seed =0' can't be read: 'seed ' is not the name of an option; write options as name=value."),
    M("a name that begins with a dot", ".lr=1", "'.lr=1' can't be read: '.lr' is not the name of an option; write options as name=value."),
    M("two dots in a name", "training..lr=1", "'training..lr=1' can't be read: 'training..lr' is not the name of an option; write options as name=value."),
    M("a name that ends with a dot", "training.lr.=1", "'training.lr.=1' can't be read: 'training.lr.' is not the name of an option; write options as name=value."),
    M("a dash alone", "-", "'-' is neither a command nor an option: write options as name=value, and see --help.", small=False),
    M("an option placed elsewhere", "seed@x=1", "seed@x=1: write seed=VALUE."),
    M("three plus signs", "+++seed=1", "+++seed=1 can't be read (no viable alternative at input '+'): write options as name=value."),
    M("an option with a slash", "training/lr=1", "training/lr is not an option: python -m afterkernel --help all lists all options."),
    M("true for a choice", "arch=true", "arch=true is not known: choose one of mlp, resnet, sum, vgg, vit."),
    M("null for an experiment", "experiment=null", "experiment=null names no file: leave it out."),
    M("a launcher added with a plus", "+hydra/launcher=basic", "hydra/launcher is a setting of Hydra that can't be changed here: choose with launcher=NAME."),
    M("an environment variable set by Hydra", "hydra.job.env_set.X=1", "hydra.job.env_set.X is a setting of Hydra that can't be changed here."),
    M("Hydra's verbosity", "hydra.verbose=true", "hydra.verbose is a setting of Hydra that can't be changed here."),
    M("Hydra's configuration with references resolved", "--cfg=hydra --resolve", "--resolve needs --cfg: write --cfg job --resolve."),
    M("Hydra's own help", "--hydra-help", "--hydra-help is not available: use --help.", small=False),
    M("a part of the configuration, by the short flag", "-p training", "--package is not available: --cfg job prints the whole configuration.", small=False),
    M("Hydra's own completion", "-sc install=bash", "--shell-completion is not available: the command completion prints a script for your shell.", small=False),
    M("the name of the schema for a choice", "arch=base_config", "arch=base_config is not known: choose one of mlp, resnet, sum, vgg, vit."),
    M("the file of a choice", "arch=vgg.yaml", "arch=vgg.yaml is not known: choose one of mlp, resnet, sum, vgg, vit."),
    M("a folder without a name", "report ''", "report: argument DIR: must not be empty: give the name of a folder; python -m afterkernel report --help shows its usage.", small=False),
    M("a run without a name", "evaluate ' '", "evaluate: argument RUN_DIR: must not be empty: give the name of a folder; python -m afterkernel evaluate --help shows its usage.", small=False),
    M("an output page without a name", "report runs --output ''", "report: argument --output: must not be empty: give the name of a folder; python -m afterkernel report --help shows its usage.", small=False),
    M("a line break in a folder's name on the command line", "status 'a\nb'", "a\\nb is not a directory (the current folder is ...): name a run, a sweep, or the folder of all sweeps.", small=False),
]
# fmt: on
