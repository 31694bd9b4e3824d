"""Errors in the arguments of a command: options, groups, commands."""

from error_case import ErrorCase

M = ErrorCase


def online_without_account(at):
    at.patch.delenv("WANDB_API_KEY", raising=False)
    at.patch.setenv("NETRC", str(at.folder / "netrc"))


def no_cuda(at):
    at.patch.setattr("torch.cuda.is_available", lambda: False)


def not_installed(name):
    def setup(at):
        import importlib.util

        found = importlib.util.find_spec
        at.patch.setattr(
            importlib.util, "find_spec", lambda asked, *more: None if asked == name else found(asked, *more)
        )

    return setup


def full_disk(at):
    def fail(*_):
        raise OSError(28, "No space left on device")

    at.patch.setattr("afterkernel.training.snapshot.write_atomic", fail)


# fmt: off
COMMANDS = [
    M("an unknown command", "evel", "'evel' is neither a command nor an option: write options as name=value, and see --help."),
    M("an unknown flag", "--fast", "--fast is not an option of the command line: python -m afterkernel --help lists them."),
    M("a wrong value of a flag of Hydra", "--cfg everything", "the command line: argument --cfg/-c: invalid choice: 'everything' (choose from ...); python -m afterkernel --help shows its usage.", small=False),
    M("a command without its folder", "report", "report: the following arguments are required: DIR; python -m afterkernel report --help shows its usage.", small=False),
    M("the power of a claim that does not exist", "power runs --claims c1,c7", "--claims=c1,c7: c7 is not a claim: choose of c1, c2, c3, c4, c5, c6.", small=False),
    M("the power for no effect", "power runs --effect 0", "--effect=0 is not valid: give a number above 0, in the unit of the claim's part.", small=False),
    M("the power for an effect that is no number", "power runs --effect large", "--effect=large is not valid: give a number above 0, in the unit of the claim's part.", small=False),
    M("two folders where one is expected", "results a b", "results: b is an unexpected argument; python -m afterkernel results --help shows its usage.", small=False),
    M("a flag that a command does not have", "plan --quick", "--quick is not an option of plan: python -m afterkernel plan --help lists them.", small=False),
    M("help on a misspelt option", "--help training.lrr", "--help training.lrr: there is no command, group or option of that name: did you mean training.lr?", small=False),
    M("help on a misspelt choice", "--help svm.libsvn", "--help svm.libsvn: there is no command, group or option of that name: did you mean svm.libsvm?", small=False),
    M("help on nothing that exists", "--help qqq", "--help qqq: there is no command, group or option of that name: --help lists the groups of options.", small=False),
    M("completion for a shell that has none", "completion tcsh", "completion: argument SHELL: invalid choice: 'tcsh' (choose from ...); python -m afterkernel completion --help shows its usage.", small=False),
    M("completion without a shell", "completion", "completion: the following arguments are required: SHELL; python -m afterkernel completion --help shows its usage.", small=False),
    M("an argument for a command that takes none", "doctor now", "doctor: now is an unexpected argument; python -m afterkernel doctor --help shows its usage.", small=False),
    M("several sweep files", "--multirun +sweep=demo,demo", "+sweep=demo,demo names several files, whose grids can't be joined: run them one by one.", small=False),
    M("a sweep over an empty range", "--multirun seed=range(0,0)", "the sweep has no runs: an option has an empty list of values."),
    M("a different configuration for Hydra", "--config-name=x", "--config-name is not available: choose among the files of conf, or write a sweeps/NAME.yaml.", small=False),
    M("a plugin that is not installed", "plugins=[nowhere.nets]", "plugins=[nowhere.nets]: there is no module nowhere here; install its package, or start in the folder that holds it.", small=False),
    M("plugins that are not a list", "plugins=my_lab.nets", "plugins=my_lab.nets is not a list: write it as plugins=[my_lab.nets].", small=False),
    M("a file name for a plugin", "\"plugins=['my_lab/nets.py']\"", "plugins=[my_lab/nets.py] is not the name of a Python module: write it as my_lab.nets.", small=False),
    M("help with a configuration folder that is not named", "--help --config-dir", "--config-dir needs a folder: write --config-dir DIR.", small=False),
    M("a configuration folder that does not exist", "--config-dir=/nope", "--config-dir=/nope is not a folder: name one that holds dataset/NAME.yaml or the like.", small=False),
    M("an option that is given twice", "seed=0 seed=1", "seed=0 and seed=1 both set seed: give it once."),
    M("an option that is given twice, once with a plus sign", "training.lr=0.1 ++training.lr=0.2", "training.lr=0.1 and ++training.lr=0.2 both set training.lr: give it once."),
    M("a choice that is given twice", "arch=vgg arch=mlp", "arch=vgg and arch=mlp both set arch: give it once."),
    M("an option that is given twice in a sweep", "--multirun seed=0,1 +seed=2", "seed=0,1 and +seed=2 both set seed: give it once."),
    M("a sweep file that is given twice", "+sweep=demo +sweep=demo", "+sweep=demo and +sweep=demo both set sweep: give it once.", small=False),
    M("an option that is given twice to another command", "plan arch.width=5 arch.width=6", "arch.width=5 and arch.width=6 both set arch.width: give it once."),
    M("a flag of Hydra that needs another", "--resolve", "--resolve needs --cfg: write --cfg job --resolve.", small=False),
    M("an empty further grid", "--multirun seed=0 'sweep.also=[\"\"]'", "sweep.also=[]: it is empty: write options, such as \"arch=vgg seed=0,1\"."),
    M("a further grid that sets an option twice", "--multirun seed=0 'sweep.also=[\"seed=1 seed=2\"]'", "sweep.also=[seed=1 seed=2]: seed=1 and seed=2 both set seed: give it once."),
    M("a further grid of another sweep", "--multirun seed=0 'sweep.also=[\"seed=1 sweep.name=b\"]'", "sweep.also=[seed=1 sweep.name=b]: sweep.name=b can't differ between grids: give it to the whole sweep."),
    M("further grids of a single run", "'sweep.also=[\"seed=1\"]'", "sweep.also adds grids to a sweep, and this is one run: add --multirun, or leave it out."),
    M("a further grid with a misspelt option", "--multirun seed=0 'sweep.also=[\"seed=1 training.lrr=1\"]'", "job training.lrr=1: training.lrr is not an option: did you mean training.lr?"),
    M("an unknown way to handle errors", "--multirun seed=0,1 sweep.on_error=halt", "sweep.on_error=halt is not known: choose one of continue, stop."),
    M("a wrong choice before --multirun", "arch=vgx --multirun seed=0,1", "arch=vgx is not known (did you mean vgg?): choose one of mlp, resnet, sum, vgg, vit."),
    M("a word that is neither a command nor an option", "plan now", "'now' is neither a command nor an option: write options as name=value, and see --help.", small=False),
    M("an option without a name", "=5", "=5 has no name before the =: write options as name=value."),
    M("a shift past the whole image", "measure.shift_px=[9]", "measure.shift_px=9 moves 8x8 images entirely out of the frame: give less than 8."),
    M("one name for a list of other names", "keep=gram", "keep=gram has the wrong type: it must be a list of names, such as [gram,checkpoint]."),
    M("an unclosed bracket", "snapshot.epochs=[1", "snapshot.epochs=[1 can't be read (no viable alternative at input '[1'): write options as name=value."),
]
# fmt: on

# fmt: off
OPTIONS = [
    M("a space after a comma", "--multirun training.lr=0.03, 0.1", "training.lr=0.03, ends in a comma: write values without spaces, as training.lr=0.03,0.1."),
    M("a comma with nothing after it", "--multirun seed=1, arch=mlp", "seed=1, ends in a comma: write values without spaces, as seed=1,VALUE."),
    M("an option by the name of its column", "learning_rate=0.1", "learning_rate is not an option: did you mean training.lr?"),
    M("a misspelt group", "aarch=mlp", "aarch is not an option: did you mean arch?", small=False),
    M("a misspelt option", "training.lrr=1", "training.lrr is not an option: did you mean training.lr?"),
    M("an option inside an option", "training.lr.x=3", "training.lr.x is not an option: training.lr takes a value, as training.lr=VALUE."),
    M("an option inside an option, with a plus sign", "+seed.x=3", "seed.x is not an option: seed takes a value, as seed=VALUE."),
    M("null where a folder is expected", "output_dir=null", "output_dir=null has the wrong type: it must be a string."),
    M("a number in base 16", "training.lr=0x10", "training.lr=0x10 has the wrong type: it must be a number."),
    M("a count in powers of ten", "training.epochs=1e3", "training.epochs=1e3 has the wrong type: it must be a whole number."),
    M("a dictionary where a list is expected", "kernel.names={ntk:1}", "kernel.names=... has the wrong type: it must be a list of names, such as [ntk,conjugate]."),
    M("a misspelt option with a plus", "+training.lrr=1", "training.lrr is not an option: did you mean training.lr?"),
    M("an option that resembles no other", "+typo=1", "typo is not an option: python -m afterkernel --help all lists all options."),
    M("an option of another architecture", "arch.num_blocks=2", "arch.num_blocks is not an option of the selected arch: python -m afterkernel --help arch lists the choices of arch."),
    M("an option of another SVM backend", "svm=libsvm svm.soft_C=3", "svm.soft_C is not an option of the selected svm: python -m afterkernel --help svm lists the choices of svm."),
    M("an option with a tilde", "~training.lr", "training.lr can't be deleted: give it a value, as training.lr=VALUE."),
    M("a word where a number is expected", "training.lr=fast", "training.lr=fast has the wrong type: it must be a number."),
    M("nothing where a number is expected", "training.lr=", "training.lr= has the wrong type: it must be a number."),
    M("null where a number is expected", "training.lr=null", "training.lr=null has the wrong type: it must be a number."),
    M("a fraction where a whole number is expected", "training.batch_size=3.5", "training.batch_size=3.5 has the wrong type: it must be a whole number."),
    M("a word where true or false is expected", "training.centered_output=maybe", "training.centered_output=maybe has the wrong type: it must be true or false."),
    M("a number where a list is expected", "snapshot.epochs=5", "snapshot.epochs=5 has the wrong type: it must be a list of whole numbers, such as [0,1,2]."),
    M("several values without --multirun", "training.lr=0.1,0.2", "training.lr=0.1,0.2 names several values: add --multirun to sweep over them."),
    M("a learning rate below 0", "training.lr=-1", "training.lr=-1.0 is too small: it must be greater than 0."),
    M("a learning rate that is not a number", "training.lr=nan", "training.lr=nan is not a number: give a number."),
    M("a batch of no images", "training.batch_size=0", "training.batch_size=0 is too small: it must be at least 1."),
    M("a seed too large", "seed=99999999999", "seed=99999999999 is too large: it must be at most 2147483647."),
    M("a crop larger than the image", "measure.crop_fraction=[2]", "measure.crop_fraction=2.0 is too large: it must be at most 1."),
    M("snapshots before the start of training", "snapshot.epochs=[-1]", "snapshot.epochs=-1 is too small: it must be at least 0."),
    M("snapshots that are all after the end of training", "snapshot.epochs=[20,50] training.epochs=10", "snapshot.epochs=[20,50] are all after training.epochs=10: give an epoch up to that, or [] for only the end of training."),
    M("no kernel", "kernel.names=[]", "kernel.names=[] is empty: give at least one of ntk, conjugate, linear, rbf, infinite_ntk, sketch."),
    M("a misspelt kernel", "kernel.names=[ntkk]", "kernel.names=ntkk is not known: choose one of ntk, conjugate, linear, rbf, infinite_ntk, sketch."),
    M("a kernel that the network does not have", "arch=vgg kernel.names=[infinite_ntk]", "kernel infinite_ntk exists only for fully connected ReLU networks with one output, such as arch=mlp: remove it from kernel.names."),
    M("an unknown precision", "kernel.dtype=float16", "kernel.dtype=float16 is not known: choose one of float32, float64, tf32, tf32x3, bf16."),
    M("an unknown initialiser", "arch.init=he", "arch.init=he is not known: choose one of glorot, pytorch, ntk, mup, meanfield."),
]
# fmt: on

# fmt: off
GROUPS = [
    M("a misspelt architecture", "arch=vgx", "arch=vgx is not known (did you mean vgg?): choose one of mlp, resnet, sum, vgg, vit.", small=False),
    M("a misspelt data set", "dataset=cifar", "dataset=cifar is not known (did you mean cifar10?): choose one of cifar10, cifar10_all, cifar10_automobile_truck, cifar10_cat_dog, digits, folder, mnist, mnist_3_8, mnist_4_9, mnist_all."),
    M("an unknown SVM", "svm=svc", "svm=svc is not known: choose one of auto, cuml, exact, jst, liblinear, libsvm, thundersvm."),
    M("true where an augmentation is named", "training.augment=true", "training.augment=true is not known: choose one of none, rotation, rotation_shift."),
    M("a loss of 0", "snapshot.losses=[0.1,0]", "snapshot.losses=0.0 is too small: it must be greater than 0."),
    M("no check of the loss", "training.loss_checks_per_epoch=0", "training.loss_checks_per_epoch=0 is too small: it must be at least 1."),
    M("an unknown check of the loss", "training.loss_check=often", "training.loss_check=often is not known: choose one of within_epochs, paper."),
    M("no steps", "training.max_steps=0", "training.max_steps=0 is too small: it must be at least 1."),
    M("an unknown optimiser", "training=adam", "training=adam is not known: choose one of sgd, sgd_rotation, sgd_rotation_shift."),
    M("an unknown experiment", "experiment=nope", "experiment=nope is not known: choose one of mnist_mlp, mnist_vgg."),
    M("a name set directly instead of by its group", "svm.name=libsvm", "svm.name=libsvm can't be set directly: use svm=NAME."),
    M("a plus sign before a choice", "+svm=libsvm", "svm is chosen twice: write svm=NAME without a plus sign."),
    M("a word where a number of processes is expected", "launcher.processes=many", "launcher.processes=many has the wrong type: it must be a whole number, or auto."),
    M("no process", "launcher.processes=0", "launcher.processes=0 is too small: it must be at least 1."),
    M("an SVM whose package is not installed", "svm=thundersvm", "the SVM backend thundersvm needs the package thundersvm... pip install afterkernel[thundersvm]...", not_installed("thundersvm")),
]
# fmt: on

# fmt: off
PAIRS = [
    M("a class that the data set does not have", "dataset.plus=12", "dataset.plus=12 is not a class of digits (did you mean 2?): choose one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9."),
    M("a misspelt class", "dataset=cifar10 dataset.minus=kat", "dataset.minus=kat is not a class of cifar10 (did you mean cat?): choose one of airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck."),
    M("the same class twice", "dataset.plus=3", "dataset.minus=3 and dataset.plus=3 are the same class: choose two."),
    M("a pair and several classes", "dataset.minus=3 dataset.classes=[0,1,2]", "dataset.minus=3 and dataset.classes=[0,1,2] are both given: give either dataset.minus and dataset.plus, or dataset.classes."),
    M("a choice of a pair and several classes", "dataset=mnist_4_9 dataset.classes=all", "dataset.minus=4 and dataset.classes=all are both given: give either dataset.minus and dataset.plus, or dataset.classes."),
    M("neither a pair nor several classes", "dataset.minus=''", "dataset.minus is not set: choose one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, or give several as dataset.classes."),
    M("a class among several that the data set does not have", "dataset=cifar10 dataset.classes=[cat,dgo,ship]", "dataset.classes=[cat,dgo,ship]: dgo is not a class of cifar10 (did you mean dog?): choose from airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck."),
    M("a class twice among several", "dataset.classes=[0,1,1]", "dataset.classes=[0,1,1] names 1 twice: give each value once."),
    M("two classes as several", "dataset.classes=[3,8]", "dataset.classes=[3,8] has fewer than 3 classes: give at least 3, or two as dataset.minus=3 and dataset.plus=8."),
    M("one class as several", "dataset.classes=[3]", "dataset.classes=[3] has fewer than 3 classes: give at least 3."),
    M("a single name for several classes", "dataset.classes=3", "dataset.classes=3 has the wrong type: it must be a list of names, such as [a,b], or all."),
    M("a number that would be another name", "dataset.classes=[0,1,2e0]", "dataset.classes=[0,1,2e0] would be read as the text 2.0: put quotes around each text, and around the whole argument."),
    M("fewer images than classes", "dataset.classes=all dataset.max_train=9", "dataset.max_train=9 is too small: with 10 classes it must be at least 10."),
    M("an output of two classes", "kernel.output=sum", "kernel.output=sum has no effect with two classes, whose network has one output: leave it out, or give several classes as dataset.classes."),
    M("an output that the network does not have", "dataset.classes=[0,1,2] kernel.output=3", "kernel.output=3 does not exist: with 3 classes outputs are numbered from 0 to 2."),
    M("an unknown output", "dataset.classes=[0,1,2] kernel.output=full", "kernel.output=full is not known: give trace, sum, or the number of an output, such as 0."),
    M("a kernel that exists for one output, with several classes", "dataset.classes=[0,1,2] kernel.names=[infinite_ntk]", "kernel infinite_ntk exists only for fully connected ReLU networks with one output, such as arch=mlp: remove it from kernel.names."),
    M("a budget smaller than the smallest network", "arch=vgg arch.budget=5", "arch.budget=5 is too small: vgg on 1x8x8 images has at least 1193 parameters (width 4).", small=False),
    M("a number of layers that is not a multiple of the blocks", "arch=vgg arch.num_layers=3", "arch.num_layers=3 does not divide into arch.num_blocks=2...", small=False),
    M("more blocks than the image size allows", "arch=vgg arch.num_blocks=4", "arch.num_blocks=4 is too many for images of side 8...", small=False),
    M("a depth that resnet does not have", "arch=resnet arch.num_layers=11", "arch.num_layers=11 is not a depth of resnet: choose one of 9, 10, 12, 14, 16, 18.", small=False),
    M("patches that do not tile the images", "arch=vit arch.patch_size=3", "arch.patch_size=3 does not divide images of 8x8 pixels into patches: choose one of 1, 2, 4, 8.", small=False),
    M("a width that heads do not divide", "arch=vit arch.width=10", "arch.width=10 is not a multiple of arch.heads=4: each head takes an equal part.", small=False),
    M("a mean-field network with several hidden layers", "arch.init=meanfield", "arch.init=meanfield is not possible for arch=mlp: it is defined for one hidden layer; give arch.num_layers=1, or choose arch.init=mup."),
    M("a parameterisation that BatchNorm does not follow", "arch=resnet arch.init=mup", "arch.init=mup is not possible for arch=resnet: the scales and shifts of BatchNorm would need factors of their own; choose arch=vgg or arch=mlp."),
    M("a parameterisation that attention does not follow", "arch=vit arch.init=ntk", "arch.init=ntk is not possible for arch=vit: attention and LayerNorm would need factors of their own; choose glorot or pytorch, or arch=mlp.", small=False),
    M("momentum of Adam", "training.optimizer=adam training.momentum=0.9", "training.momentum=0.9 is an option of training.optimizer=sgd: leave it out with training.optimizer=adam, which has a momentum of its own."),
    M("an optimiser that does not exist here", "training.optimizer=rmsprop", "training.optimizer=rmsprop is not known: choose one of sgd, adam."),
    M("an unknown schedule", "training.lr_schedule=step", "training.lr_schedule=step is not known: choose one of constant, cosine."),
    M("a centred network with BatchNorm", "arch=resnet training.centered_output=true", "training.centered_output=true subtracts the initial network as a fixed function, which a network with BatchNorm is not in training: choose an architecture without it, such as arch=vgg."),
    M("a batch of one image for BatchNorm", "arch=resnet dataset.max_train=33 dataset.max_test=20", "training.batch_size=32 leaves a single image for a batch of the 33 training images, and BatchNorm needs two or more: choose another size."),
    M("batches of one image for BatchNorm", "arch=resnet training.batch_size=1 dataset.max_train=40 dataset.max_test=20", "training.batch_size=1 leaves a single image for a batch of the 40 training images, and BatchNorm needs two or more: choose another size."),
    M("a memory budget below two embeddings, in a plan", "plan kernel.budget_bytes=100", "budget_bytes=100 is too small: two embeddings of ... numbers need ... bytes.", small=False),
    M("a memory budget below two embeddings", "kernel.budget_bytes=100", "budget_bytes=100 is too small: two embeddings of ... numbers need ... bytes."),
]
# fmt: on

# fmt: off
PLACES = [
    M("a GPU on a machine without one", "trainer=gpu", "trainer.device=cuda: torch finds no CUDA device here; use trainer.device=cpu.", no_cuda),
    M("W&B online without an account", "logger=wandb logger.wandb.mode=online", "logger.wandb.mode=online: no W&B account is known here; run `wandb login`, set WANDB_API_KEY, or use logger.wandb.mode=offline.", online_without_account, small=False),
    M("a sweep's name that is not a folder name", "sweep.name=a/b", "sweep.name='a/b' is not a valid folder name: use letters, digits, - and _."),
    M("a file as output folder", "output_dir=notes.txt", "output_dir=notes.txt: ...notes.txt is not a folder that can be written to; name another.", lambda at: at.write("notes.txt", "mine")),
    M("an empty output folder", "output_dir=", "output_dir is empty: name the folder that results go to, such as runs."),
    M("an output folder that is read-only", "output_dir=/proc/runs", "output_dir=/proc/runs: /proc is not a folder that can be written to; name another."),
    M("a disk that is full", "seed=0", "...snapshots/step=0.pt can't be written (No space left on device): make room for it, and run the same command again.", full_disk),
    M("a report to a disk that can't be written to", "report run --output /proc/page", "--output=/proc/page: the report can't be written there (No such file or directory); name another folder.", lambda at: at.run(), small=False),
]
# fmt: on
