"""Hard-margin SVMs next to libsvm, thundersvm, PIQP and DAQP on the same kernels in one run; one thread next to two.

    python benchmarks/svm_peers.py full --root DIR [--n N] [--thundersvm-s 300]    # DIR holds MNIST/raw
    python benchmarks/svm_peers.py small                                           # n = 200; pip install piqp daqp
    python benchmarks/svm_peers.py threads                                         # 2 threads over 1, idle and busy

Times are seconds of the clock and, in brackets, of the processor; medians where a problem is solved several times.
`full`: the conjugate kernel of an untrained mlp on MNIST 3/8, not separable, at soft_C = 1e3. libsvm solves the same
problem as `exact` with an intercept: squared slacks at C are the hard margin of K + max K_ii / C I. thundersvm has
slacks of the first power only: it and libsvm again are given those at the same C, thundersvm on a factor of K (its
precomputed kernels are something else), in a child process, stopped after a time limit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from side_by_side.table import markdown

import afterkernel as ak
from afterkernel.data.sources.mnist import MNIST
from afterkernel.errors import UserError
from afterkernel.svm.certificate import certify
from afterkernel.svm.thundersvm import ThunderSVM
from afterkernel.types import Float, Int, Tensor

C = 1e3
REPEATS = 15


def timed(run: Callable[[], object], repeats: int = 1) -> tuple[float, float]:
    """Median seconds of the clock and of the processor, child processes included."""
    clock, processor = list[float](), list[float]()
    for _ in range(repeats):
        before, begun = processor_seconds(), time.perf_counter()
        run()
        clock.append(time.perf_counter() - begun)
        processor.append(processor_seconds() - before)
    return statistics.median(clock), statistics.median(processor)


def processor_seconds() -> float:
    """What this process and its ended children have used so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def words(seconds: tuple[float, float]) -> str:
    """Both times."""
    return f"{seconds[0]:.2f} ({seconds[1]:.2f})"


def full(root: str, n: int | None, thundersvm_s: float) -> None:
    """All of MNIST 3/8."""
    from sklearn.svm import SVC

    problem = MNIST(root=root, download=False, max_train=n).load()
    torch.manual_seed(0)
    network = ak.models.mlp(problem.image_shape, budget=100_000)
    kernels: list[Tensor] = []
    made = timed(lambda: kernels.append(ak.conjugate_kernel(network, problem.x_train)))
    K, y = kernels[0], problem.y_train
    signs, scale = 2.0 * y.double() - 1, float(K.diagonal().max())
    print(f"n = {len(K):,}, {K.dtype}, kernel {words(made)} s, load {os.getloadavg()[0]:.1f}", flush=True)
    rows: list[list[str]] = []

    def row(name: str, slacks: str, took: tuple[float, float], gap: str, support: int, margin: str) -> None:
        rows.append([name, slacks, words(took), gap, f"{support:,}", margin])
        print(" | ".join(rows[-1]), flush=True)

    for threads in (1, 2):
        for intercept in (False, True):
            torch.set_num_threads(threads)
            machine = ak.HardMarginSVM(intercept=intercept, soft_C=C)
            took = timed(lambda machine=machine: machine.fit(K, y))  # type: ignore[misc]
            soft = machine.soft_certificate_
            assert soft is not None
            name = f"exact, {threads} thread{'s' * (threads > 1)}, {'' if intercept else 'no '}intercept"
            row(name, "squared", took, f"{soft.gap:.0e}", soft.n_support, f"{soft.margin:.6g}")

    def svc(matrix: np.ndarray, weight: float) -> SVC:
        return SVC(kernel="precomputed", C=weight, tol=1e-3, cache_size=2000).fit(matrix, y.numpy())

    def dual_of(fitted: SVC) -> Float[Tensor, " n"]:
        dual = torch.zeros(len(K), dtype=torch.float64)
        dual[torch.from_numpy(fitted.support_).long()] = torch.from_numpy(np.abs(fitted.dual_coef_[0]))
        return dual

    scaled = (K.double() / scale).numpy()
    fitted: list[SVC] = []
    took = timed(lambda: fitted.append(svc(scaled + np.eye(len(K)) / C, 1e12)))
    proof = certify(K, signs, dual_of(fitted[0]) / scale, True, ridge=scale / C)
    row("libsvm", "squared", took, f"{proof.gap:.0e}", len(fitted[0].support_), f"{proof.margin:.6g}")
    took = timed(lambda: fitted.append(svc(scaled, C)))
    row("libsvm", "first power", took, "-", len(fitted[1].support_), "-")
    backend = ThunderSVM(C=C, stop_tol=1e-3, timeout_s=thundersvm_s)
    answers: list[Float[Tensor, " n"]] = []

    def thunder() -> None:
        answers.append(backend.solve(K, signs).dual)

    try:
        took = timed(thunder)
        row("thundersvm", "first power", took, "-", int((answers[0] > 0).sum()), "-")
    except UserError as error:
        rows.append(["thundersvm", "first power", str(error), "-", "-", "-"])
    print(markdown(["solver", "slacks", "s", "gap", "support", "margin of K + ridge I"], rows))


def small_problems(n: int = 200) -> Iterator[tuple[str, Float[Tensor, "n n"], Int[Tensor, " n"]]]:
    """Kernels of full and of low rank, with labels."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    X = normal(n, 100) + 0.5
    H = torch.relu(X @ normal(100, 4000)) / 4000**0.5
    y = (normal(n) > 0).long()
    yield "ReLU features, full rank", H @ H.T, y
    for rank in (5, 20, 50, 95):
        F = normal(n, rank)
        side = F[:, 0].sign()
        apart = F.clone()
        apart[:, 0] += 0.1 * side
        yield f"rank {rank}, separable", apart @ apart.T, (side > 0).long()
        if rank <= 50:
            yield f"rank {rank}, not separable", F @ F.T, y


def factor(K: Float[Tensor, "n n"]) -> np.ndarray:
    """F (n, r) with F F' = K, scaled to unit largest diagonal."""
    values, vectors = torch.linalg.eigh(K / K.diagonal().max())
    kept = values > 1e-12
    found: np.ndarray = (vectors[:, kept] * values[kept].sqrt()).numpy()
    return found


def piqp_plane(F: np.ndarray, s: np.ndarray) -> np.ndarray | None:
    """w with least |w| and s_i w.F_i >= 1, by PIQP's dense interior point; None where it finds none."""
    import piqp  # type: ignore[import-not-found]

    solver = piqp.DenseSolver()
    solver.settings.eps_abs = solver.settings.eps_rel = 1e-10
    solver.setup(np.eye(F.shape[1]), np.zeros(F.shape[1]), G=-s[:, None] * F, h_u=-np.ones(len(F)))
    return solver.result.x if solver.solve() == piqp.PIQP_SOLVED else None


def daqp_plane(F: np.ndarray, s: np.ndarray) -> np.ndarray | None:
    """The same by DAQP's dual active set."""
    import daqp

    Z, n, r = s[:, None] * F, len(F), F.shape[1]
    none, ones = np.full(n, 1e30), np.ones(n)
    w, _, flag, _ = daqp.solve(np.eye(r), np.zeros(r), Z, none, ones, np.zeros(n, dtype=np.int32))
    return w if flag == 1 else None


def small() -> None:
    """n = 200, where the peers are given a factor of K in coordinates, and its eigenvectors are their time too."""
    torch.set_num_threads(1)
    rows: list[list[str]] = []
    for name, K, y in small_problems():
        K = (K + K.T) / 2
        s = 2.0 * y.numpy() - 1
        cells = [name]
        for intercept in (False, True):
            machine = ak.HardMarginSVM(intercept=intercept)
            machine.fit(K, y)
            took = timed(lambda machine=machine, K=K, y=y: machine.fit(K, y), REPEATS)  # type: ignore[misc]
            cells.append(f"{1e3 * took[0]:.1f} ({1e3 * took[1]:.1f})")
        machine = ak.HardMarginSVM().fit(K, y)
        scale = float(K.diagonal().max()) ** 0.5
        for solve in (piqp_plane, daqp_plane):
            w = solve(factor(K), s)
            took = timed(lambda solve=solve, K=K, s=s: solve(factor(K), s), REPEATS)  # type: ignore[misc]
            F = factor(K)
            alone = timed(lambda solve=solve, F=F, s=s: solve(F, s), REPEATS)  # type: ignore[misc]
            found = "none" if w is None else f"{abs(scale / float(np.linalg.norm(w)) / machine.margin_ - 1):.0e}"
            cells += [f"{1e3 * took[0]:.1f}", f"{1e3 * alone[0]:.1f}", found]
        rows.append([*cells[:3], f"{machine.gap_:.0e}", *cells[3:]])
        print(" | ".join(rows[-1]), flush=True)
    heads = ["kernel", "exact, ms", "with intercept, ms", "gap"]
    for peer in ("PIQP", "DAQP"):
        heads += [f"{peer}, ms", "without the factor, ms", "margin differs"]
    print(markdown(heads, rows))


def spin(stop: multiprocessing.synchronize.Event) -> None:
    """Keep a core busy."""
    while not stop.is_set():
        for _ in range(100_000):
            pass


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes compute all the time during the block."""
    stop = multiprocessing.Event()
    loops = [multiprocessing.Process(target=spin, args=(stop,)) for _ in range(processes)]
    for loop in loops:
        loop.start()
    time.sleep(1)
    try:
        yield
    finally:
        stop.set()
        for loop in loops:
            loop.join()


def threads() -> None:
    """Time with 2 threads over time with 1, alternating."""
    generator = torch.Generator().manual_seed(0)
    rows: list[list[str]] = []
    for n in (200, 1000, 3000):
        X = torch.randn(n, 100, generator=generator, dtype=torch.float64)
        H = torch.relu(X @ torch.randn(100, 2 * n, generator=generator, dtype=torch.float64)) / n**0.5
        K, y = (H @ H.T).float(), (X[:, 0] > 0).long()
        for loops in (0, os.cpu_count() or 1):
            took: dict[int, list[float]] = {1: [], 2: []}
            with busy(loops):
                for _ in range(7):
                    for count, seconds in took.items():
                        torch.set_num_threads(count)
                        seconds.append(timed(lambda K=K, y=y: ak.HardMarginSVM().fit(K, y))[0])  # type: ignore[misc]
            one, two = (statistics.median(took[count]) for count in (1, 2))
            rows.append([f"{n:,}", str(loops), f"{one:.4f}", f"{two:.4f}", f"{two / one:.2f}"])
            print(" | ".join(rows[-1]), flush=True)
    print(markdown(["n", "busy loops", "1 thread, s", "2 threads, s", "ratio"], rows))


def main() -> None:
    """Measure one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("full", "small", "threads"))
    parser.add_argument("--root", help="folder that holds MNIST/raw")
    parser.add_argument("--n", type=int, help="images; all if left out")
    parser.add_argument("--thundersvm-s", type=float, default=300, help="seconds after which thundersvm is stopped")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if options.what == "full":
        if options.root is None:
            parser.error("full needs --root")
        full(options.root, options.n, options.thundersvm_s)
    elif options.what == "small":
        small()
    else:
        threads()


if __name__ == "__main__":
    main()
