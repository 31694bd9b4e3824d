"""One line per finished run: the options in which it differs from the others, and what training did to its kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from afterkernel.kernel_kinds import describe
from afterkernel.records.record import KernelRecord, Record
from afterkernel.records.store import read_run
from afterkernel.text import epochs, fixed, percent, percent_decimals

# Options whose value says what it is of.
_VALUE_ALONE = ("arch", "dataset", "svm", "experiment")


def describe_options(varied: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """By run_id the swept options in words, from the overrides that differ: vgg lr 0.1 seed 2.

    The last part of an option's name is enough, unless two swept options share it. Runs without any are named by their
    id.
    """
    names = {word.partition("=")[0].lstrip("+~") for words in varied.values() for word in words}
    shared = Counter(name.rpartition(".")[2] for name in names)

    def words_of(override: str) -> str:
        name, _, value = override.partition("=")
        name = name.lstrip("+~")
        last = name.rpartition(".")[2]
        return value if name in _VALUE_ALONE else f"{last if shared[last] == 1 else name} {value}"

    return {run_id: " ".join(map(words_of, words)) or run_id for run_id, words in varied.items()}


def describe_numbers(run_dir: Path, run_id: str, evaluation_id: str) -> str:
    """The SVM's test error and the swap invariance of a run's first and last snapshot; empty without records.

    They are those of the NTK if it was computed, else of the first kernel.
    """
    of_run = read_run(run_dir, run_id)
    records = [of_run[key] for key in sorted(of_run) if key[1] == evaluation_id]
    shown = [(record, kernel) for record in records if (kernel := _kernel(record)) is not None]
    if not shown:
        return ""
    ends = [shown[0], shown[-1]][: len(shown)]
    parts = [" -> ".join(_error(*end) for end in ends)]
    swaps = [kernel.swap_invariance for _, kernel in ends]
    if None not in swaps:
        parts.append(f"swap {' -> '.join(fixed(swap) for swap in swaps)}")
    last = records[-1]
    if last.training_end == "diverged":
        parts.append(f"diverged after epoch {epochs(last.epoch or 0)}")
    return ", ".join(parts)


def _kernel(record: Record) -> KernelRecord | None:
    by_name = {kernel.kernel: kernel for kernel in record.kernels}
    return by_name.get("ntk", next(iter(record.kernels), None))


def _error(record: Record, kernel: KernelRecord) -> str:
    name = describe(kernel.kernel).label
    if kernel.kernel == "ntk":
        name = "AK" if record.step else "NTK"
    doubt = " (soft margin)" if kernel.gap is None else "" if kernel.converged else " (SVM not converged)"
    return f"{name} {percent(kernel.svm_test_error, percent_decimals(record.n_test))} %{doubt}"
