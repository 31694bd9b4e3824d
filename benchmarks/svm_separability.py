"""Random low-rank SVM problems against exact linear programming: how many are classified rightly, and their gaps.

    python benchmarks/svm_separability.py [--problems 300] [--powers 3] [--seed 0]

The problems and the oracle, a simplex method in rational numbers on the stored factor, are those of the tests. Columns
are scaled by 1 to 10^-powers. An undetermined problem is within the precision of K where a convex combination of the
samples, verified in rational numbers on the stored entries of K, vanishes to that precision: by the duality of linear
programming K then proves no separation.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import torch

import afterkernel as ak

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "svm"))
from rational import exact_separable, low_rank_problem, vanishes

from afterkernel.svm.separability import decide_separability
from afterkernel.svm.signed_gram import PRECISION


def main() -> None:
    """Print a table, one line with and one without an intercept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--powers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the first problem")
    options = parser.parse_args()
    heads = ["intercept", "separable", "not separable", "wrong", "undetermined", "of them within the precision of K"]
    print(f"| {' | '.join([*heads, 'largest gap', 'not converged'])} |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for intercept in (False, True):
        count: Counter[str] = Counter()
        largest = 0.0
        for seed in range(options.seed, options.seed + options.problems):
            F, y = low_rank_problem(seed, options.powers)
            truth, _ = exact_separable(F, 2 * y - 1, intercept)
            K = torch.from_numpy(F @ F.T)
            K = (K + K.T) / 2
            svm = ak.HardMarginSVM(intercept=intercept).fit(K, torch.from_numpy(y))
            if svm.separable_ is None:
                found = decide_separability(K, torch.from_numpy(2.0 * y - 1), intercept)
                if found is not None and found.witness is not None:
                    precision = 10 * PRECISION[K.dtype]
                    within = vanishes(K.tolist(), 2 * y - 1, found.witness.tolist(), precision, intercept)
                    count["within"] += within
            count["yes" if truth else "no"] += 1
            count["undetermined"] += svm.separable_ is None
            count["wrong"] += svm.separable_ is (not truth)
            count["open"] += not svm.converged_
            if svm.margin_ > 0:
                largest = max(largest, svm.gap_)
        cells = [count[key] for key in ("yes", "no", "wrong", "undetermined", "within")]
        print(f"| {'yes' if intercept else 'no'} | {' | '.join(map(str, cells))} | {largest:.0e} | {count['open']} |")


if __name__ == "__main__":
    main()
