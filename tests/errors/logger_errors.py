"""Errors in the choice and the options of loggers, and in sweeps for agents of W&B."""

from command_errors import not_installed
from error_case import ErrorCase
from sweep_errors import sweep

M = ErrorCase

# fmt: off
LOGGERS = [
    M("an unknown logger", "logger=aim", "logger=aim is not known: choose one of csv, mlflow, none, tensorboard, wandb."),
    M("an unknown logger in a list", "logger=[csv,aim]", "logger=aim is not known: choose one of csv, mlflow, none, tensorboard, wandb."),
    M("no logger, and another one", "logger=[wandb,none]", "logger=[wandb,none]: none can't be one of several: write logger=none, or leave it out."),
    M("a logger twice", "logger=[csv,csv]", "logger=[csv,csv] names csv twice: give each once."),
    M("TensorBoard without its package", "logger=tensorboard", "logger=tensorboard needs tensorboard: pip install 'afterkernel[tensorboard]'.", not_installed("tensorboard")),
    M("several loggers that are not a list", "logger=wandb,csv", "logger=wandb,csv is not one list: write logger=[A,B] for several loggers."),
    M("MLflow without its package", "logger=[csv,mlflow]", "logger=mlflow needs mlflow: pip install 'afterkernel[mlflow]'.", not_installed("mlflow")),
    M("an MLflow address without a scheme", "logger=mlflow logger.mlflow.tracking_uri=localhost:5000", "logger.mlflow.tracking_uri=localhost:5000 is not an address: write http://HOST:PORT or sqlite:////FOLDER/FILE."),
    M("points of the training curve at every 0 steps", "logger.every_steps=0", "logger.every_steps=0 is too small: it must be at least 1."),
    M("an unknown way to send artifacts", "logger=wandb logger.wandb.artifacts=copy", "logger.wandb.artifacts=copy is not known: choose one of none, upload, reference."),
    M("an unknown share of W&B", "logger=wandb logger.wandb.share=all", "logger.wandb.share=all is not known: choose one of results, full."),
    M("a sweep for W&B with a local path", "wandb-sweep c1 output_dir=/home/me/runs", "output_dir is private, and the file is sent to W&B: write output_dir=${oc.env:VARIABLE} in single quotes, and set that variable where the agents run.", small=False),
    M("a sweep for W&B of several grids", "wandb-sweep demo", "sweeps/demo.yaml has 2 grids, and W&B takes one per file: add --grid 1 or --grid 2.", small=False),
    M("a swept local path in a sweep for W&B", "wandb-sweep c1 dataset=folder dataset.root=/home/me/a,/home/me/b", "dataset.root is private, and the file is sent to W&B: write dataset.root=${oc.env:VARIABLE} in single quotes, and set that variable where the agents run.", small=False),
    M("grid 0 of a sweep for W&B", "wandb-sweep demo --grid 0", "--grid 0: sweeps/demo.yaml has the grids 1 to 2.", small=False),
    M("a second grid of a sweep for W&B with one", "wandb-sweep c1 --grid 2", "--grid 2: sweeps/c1.yaml has one grid, which is 1.", small=False),
    M("a grid that a sweep for W&B does not have", "wandb-sweep demo --grid 3", "--grid 3: sweeps/demo.yaml has the grids 1 to 2.", small=False),
    M("a sweep for W&B that is not known", "wandb-sweep nope", "sweep=nope is not known: choose one of all, c1, c2, c3, c4, c5, c6, demo, ..., ten_classes.", small=False),
    M("a sweep for W&B without a name", "wandb-sweep seed=0,1", "wandb-sweep: seed=0,1 is not the name of a sweep: write wandb-sweep NAME OPTION=VALUE.", small=False),
    M("a sweep for W&B over no option", "wandb-sweep mine", "sweeps/mine.yaml sweeps over no option: give one several values, such as seed=0,1.", sweep("training: {lr: 0.1}\n"), small=False),
]
# fmt: on
