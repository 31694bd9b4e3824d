"""Whole runs compared with the program of the paper's author: the same images, network, training, measures and SVM.

    python benchmarks/end_to_end.py --root DIR [--author DIR --author-python PYTHON] [--output FILE]

DIR of --root holds MNIST/raw, as torchvision has it. The author's program is TensorFlow, and not ours to ship:

    git clone https://github.com/google-research/google-research     # --author google-research/after_kernel
    python -m venv tf && tf/bin/pip install tensorflow-cpu==2.21.0 scikit-learn     # --author-python tf/bin/python

It runs unaltered, twice for each network, as it judges the kernel by an SVM at the end of training alone: once without
training, for the SVM of the NTK, and once with all the rest. Both programs get the same images and their own seeds.
Without --author only ours runs, compared with figures of the author's program from another day.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

import afterkernel as ak
from afterkernel.data.sources.mnist import MNIST

SCRIPT = "run_ak_experiment.py"
INVARIANCES = {"shift": "trans", "rotation": "rotation", "zoom": "zoom", "swap": "swap"}  # ours: the author's
COLUMNS = 7 + len(INVARIANCES)

# What a process held before it started a command counts into the command's ru_maxrss: so a small one starts it.
METER = """
import resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[1:])
print(f"\\n{time.perf_counter() - started} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}")
sys.exit(code)
"""

# Stand-ins for two packages that the author's program imports: the first would download the images, the second has
# had no release since TensorFlow 2.15. What is used of it is one operation of TensorFlow's own.
STUBS = {
    "tensorflow_datasets": """
from pathlib import Path
import numpy as np
import tensorflow as tf

print("TensorFlow", tf.__version__)
tf.keras.utils.set_random_seed(0)  # the program sets no seed: its two runs shall start from one initialisation
IMAGES = np.load(Path(__file__).with_name("images.npz"))

def load(name, split, **_):
    return IMAGES["x_" + split], IMAGES["y_" + split]

def as_numpy(split):
    return split
""",
    "tensorflow_addons": """
import math
import tensorflow as tf

def _project(images, matrix):
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.constant([matrix], tf.float32), output_shape=images.shape[1:3],
        interpolation="NEAREST", fill_mode="CONSTANT", fill_value=0.0)

class image:
    def translate(images, by):
        return _project(images, [1, 0, -by[0], 0, 1, -by[1], 0, 0])

    def rotate(images, angle):
        c, s, h, w = math.cos(angle), math.sin(angle), images.shape[1] - 1, images.shape[2] - 1
        return _project(images, [c, -s, (w - c * w + s * h) / 2, s, c, (h - s * w - c * h) / 2, 0, 0])
""",
}


@dataclass(frozen=True)
class Work:
    """What both programs do for each network."""

    budget: int = 20_000
    train: int = 3000
    test: int = 1000
    images: int = 200
    lr: float = 0.1
    vgg_epochs: int = 10
    mlp_epochs: int = 20
    svm_limit_s: int = 30

    def epochs(self, network: str) -> int:
        """Epochs of training of "vgg" or "mlp"."""
        return self.vgg_epochs if network == "vgg" else self.mlp_epochs


@dataclass(frozen=True)
class Outcome:
    """What a program took and found; `found` is (before, after) training, by name."""

    program: str
    seconds: float
    peak_gb: float
    found: dict[str, tuple[float, float]]
    parameters: int | None = None
    limit_s: int = 0  # part of `seconds` that a time limit sets, on any machine

    def row(self, network: str) -> str:
        """One line of the table."""
        error, parameters = self.found["svm"], f"{self.parameters:,}" if self.parameters else ""
        cells = [network, self.program, parameters, f"{self.seconds:.0f}", f"{self.peak_gb:.1f}"]
        cells.append(f"{100 * error[0]:.1f} -> {100 * error[1]:.1f}")
        for name, digits in (("margin", 4), *((name, 3) for name in INVARIANCES)):
            cells.append(" -> ".join(f"{number:.{digits}f}" for number in self.found.get(name, ())))
        return line(cells)


def noted(seconds: float, peak_gb: float, *found: tuple[float, float]) -> Outcome:
    by_name = dict(zip(("svm", *INVARIANCES), found, strict=True))
    return Outcome("author's, on another day", seconds, peak_gb, by_name)


# Taken with the defaults of `Work` on a machine of 2 cores.
NOTED = {
    "vgg": noted(321, 5.1, (0.013, 0.006), (0.876, 0.875), (0.846, 0.815), (0.892, 0.928), (0.80, 0.62)),
    "mlp": noted(153, 2.8, (0.050, 0.025), (0.51, 0.75), (0.42, 0.65), (0.65, 0.89), (0.31, 0.41)),
}


def line(cells: list[str]) -> str:
    """A row of the table, filled up with empty cells."""
    return f"| {' | '.join([*cells, *[''] * (COLUMNS - len(cells))])} |"


def measured(command: list[str], **env: str) -> tuple[float, float, str]:
    """Seconds, peak memory in GB, and standard output of a command; SystemExit with its last words if it fails."""
    metered = [sys.executable, "-c", METER, *command]
    child = subprocess.run(metered, capture_output=True, text=True, env={**os.environ, **env})
    if child.returncode:
        last_words = "\n".join((child.stdout + child.stderr).splitlines()[-20:])
        raise SystemExit(f"{' '.join(command)}\nended with {child.returncode}:\n{last_words}")
    *text, meter = child.stdout.splitlines()
    seconds, peak = (float(number) for number in meter.split())
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return seconds, peak * unit / 1e9, "\n".join(text)


def run_ours(network: str, work: Work, root: Path, folder: Path) -> Outcome:
    """Our program, through its command line, into a fresh folder."""
    epochs = work.epochs(network)
    options = (
        f"arch={network} arch.budget={work.budget} training.lr={work.lr} training.epochs={epochs} dataset=mnist "
        f"dataset.download=false dataset.max_train={work.train} dataset.max_test={work.test} kernel.names=[ntk] "
        f"snapshot.epochs=[0,{epochs}] measure.num_images={work.images} logger.wandb.mode=disabled"
    )
    paths = [f"dataset.root={root}", f"output_dir={folder / 'runs'}"]
    command = [sys.executable, "-m", "afterkernel", *options.split(), *paths]
    seconds, peak, _ = measured(command)
    frame = ak.results(folder / "runs").sort_values("epoch")
    columns = {"svm": "svm_test_error", "margin": "margin", **{name: f"{name}_invariance" for name in INVARIANCES}}
    found = {name: (float(frame[c].iloc[0]), float(frame[c].iloc[-1])) for name, c in columns.items()}
    program = f"ours, torch {importlib.metadata.version('torch')}"
    return Outcome(program, seconds, peak, found, int(frame["parameters"].iloc[0]))


def run_author(network: str, work: Work, author: Path, python: Path, folder: Path) -> Outcome:
    """The author's program: an SVM of the NTK, then the invariances before and after training and an SVM after it."""
    for name, text in STUBS.items():
        (folder / f"{name}.py").write_text(text)
    results = folder / "results.txt"
    seconds, peak, numbers = 0.0, 0.0, []
    for epochs, images in ((0, 0), (work.epochs(network), work.images)):
        options = (
            f"--nn_architecture={network.upper()} --num_parameters={work.budget} --learning_rate={work.lr} "
            f"--max_num_epochs={epochs} --num_runs=1 --train_linear_model=True --svm_time_limit={work.svm_limit_s} "
            f"--num_translations={images} --num_rotations={images} --num_zooms={images} --num_swaps={images}"
        )
        paths = [f"--test_accuracy_output={results}", f"--model_summary_output={folder / 'model.txt'}"]
        command = [str(python), str(author / SCRIPT), *options.split(), *paths]
        took, most, text = measured(command, PYTHONPATH=str(folder), TF_CPP_MIN_LOG_LEVEL="2")
        seconds, peak = seconds + took, max(peak, most)
        numbers.append({name: float(value) for name, value in re.findall(r"running_(\w+) = (\S+)", text)})
        print(f"author's {network}, {epochs} epochs: {took:.0f} s, {most:.1f} GB", file=sys.stderr, flush=True)
    start, end = numbers
    found = {name: (start[key], end[key]) for name, key in (("svm", "linear_error"), ("margin", "margin"))}
    found |= {ours: (end[f"ntk_{name}_inv"], end[f"ak_{name}_inv"]) for ours, name in INVARIANCES.items()}
    parameters = int(results.read_text().split("\t")[33])
    program = "author's, " + text.splitlines()[0]
    return Outcome(program, seconds, peak, found, parameters, len(numbers) * work.svm_limit_s)


def save_images(work: Work, root: Path, path: Path) -> None:
    """The images that our program takes, as tensorflow_datasets would give them: uint8, channels last, digits."""
    problem = MNIST(root=str(root), download=False, max_train=work.train, max_test=work.test).load()
    arrays = {}
    for split, x, y in (("train", problem.x_train, problem.y_train), ("test", problem.x_test, problem.y_test)):
        arrays[f"x_{split}"] = (255 * x).round().byte().permute(0, 2, 3, 1).numpy()
        arrays[f"y_{split}"] = np.where(y.numpy() == 1, int(problem.plus), int(problem.minus))
    np.savez(path, **arrays)  # type: ignore[arg-type]  # a name of an array may not be allow_pickle


def main() -> None:
    """Run both, print a Markdown table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--author", type=Path, help=f"folder after_kernel of google-research, with {SCRIPT}")
    parser.add_argument("--author-python", type=Path, help="interpreter that has TensorFlow and scikit-learn")
    parser.add_argument("--output", type=Path, help="file for the table")
    parser.add_argument("--networks", nargs="+", choices=["vgg", "mlp"], default=["vgg", "mlp"])
    for field in fields(Work):
        flag, kind = f"--{field.name.replace('_', '-')}", type(field.default)
        parser.add_argument(flag, type=kind, default=field.default, help=f"{field.default} by default")
    arguments = parser.parse_args()
    if arguments.author and not ((arguments.author / SCRIPT).is_file() and arguments.author_python):
        parser.error(f"--author needs a folder with {SCRIPT}, and --author-python")
    work = Work(**{field.name: getattr(arguments, field.name) for field in fields(Work)})
    root = arguments.root.resolve()
    header = ["network", "program", "parameters", "s", "GB", "SVM test error, %", "margin", *INVARIANCES]
    lines = [f"{os.cpu_count()} cores; {work}", "", line(header), line(["---"] * COLUMNS)]
    print("\n".join(lines), flush=True)
    for network in arguments.networks:
        theirs = NOTED[network] if work == Work() else None
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if arguments.author:
                save_images(work, root, folder / "images.npz")
                theirs = run_author(network, work, arguments.author, arguments.author_python, folder)
            ours = run_ours(network, work, root, folder)
        rows = [outcome.row(network) for outcome in (theirs, ours) if outcome]
        if theirs:
            times, memory = f"{theirs.seconds / ours.seconds:.1f}", f"{theirs.peak_gb / ours.peak_gb:.1f}"
            if theirs.limit_s:
                times += f"; {(theirs.seconds - theirs.limit_s) / ours.seconds:.1f} less its SVMs' {theirs.limit_s} s"
            rows.append(line([network, "author's / ours", "", times, memory]))
        print("\n".join(rows), flush=True)  # now: the next network may take half an hour
        lines += rows
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
