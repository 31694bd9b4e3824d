"""A pipeline of scikit-learn

Which classifier suits which kernel? All classifiers of afterkernel are scikit-learn classifiers on a precomputed
kernel: `cross_val_score` and `GridSearchCV` take them, and split rows and columns of the matrix together. The after
kernel has seen the labels of the images that trained it; so the network is trained on one half of the digits, and
everything is cross-validated on the other half.

The picture shows the cross-validated error of a soft-margin SVM by its C, with bars of one standard error over folds,
for the tangent kernel at initialisation, the after kernel, and a Gaussian kernel of the pixels.
"""

import altair as alt
import numpy as np
import pandas as pd
import torch
from common import AFTER, BEFORE, THIRD, cnn, digits, main, places, titled, train
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score

import afterkernel as ak

NAMES = {"NTK at initialisation": BEFORE, "after kernel": AFTER, "Gaussian": THIRD}


def compute(small: bool = False) -> dict[str, pd.DataFrame]:
    """The `grid` of cross-validated errors in percent by kernel and C, and the error of a `hard` margin by kernel."""
    n, steps, grid = (40, 5, [0.1, 10.0]) if small else (170, 400, [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0])
    data = digits([3, 8], n, n, side=12)
    torch.manual_seed(0)
    model = cnn(12)
    x, y = data.x_test, data.y_test.numpy()
    before, after = (ak.ntk(model, x).numpy() for _ in train(model, data.x, data.y, 0.05, [0, steps]))
    pixels = x.flatten(1).double().numpy()
    kernels = (before, after, rbf_kernel(pixels, gamma=1 / (144 * pixels.var())))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    rows, hard = [], []
    for name, K in zip(NAMES, kernels, strict=True):
        search = GridSearchCV(ak.SoftMarginPath(), {"C": [[c] for c in grid]}, cv=folds).fit(K, y)
        found = np.stack([search.cv_results_[f"split{fold}_test_score"] for fold in range(5)])
        for c, scores in zip(grid, found.T, strict=True):
            error, bar = 100 * (1 - scores.mean()), 100 * scores.std(ddof=1) / 5**0.5
            rows.append({"kernel": name, "C": c, "error": error, "low": max(error - bar, 0), "high": error + bar})
        scores = cross_val_score(ak.HardMarginSVM(), K, y, cv=folds)
        hard.append({"kernel": name, "error": 100 * (1 - scores.mean())})
    return {"grid": pd.DataFrame(rows), "hard": pd.DataFrame(hard)}


def picture(found: dict[str, pd.DataFrame]) -> alt.LayerChart:
    """Errors by C, with standard errors."""
    grid, hard = found["grid"], found["hard"].set_index("kernel")["error"]
    ntk, after, _ = (grid[grid["kernel"] == name]["error"].min() for name in NAMES)
    colour = alt.Color("kernel", title=None).scale(domain=list(NAMES), range=list(NAMES.values())).legend(orient="top")
    base = alt.Chart(grid, width=460, height=270).encode(
        alt.X("C", title="C of the soft margin (log)", **places(grid["C"])), color=colour
    )
    line = base.encode(alt.Y("error", title="cross-validated error (%)"))
    listed = ", ".join(f"{name} {hard[name]:.1f} %" for name in NAMES)
    return titled(
        base.mark_rule().encode(alt.Y("low", title=""), alt.Y2("high")) + line.mark_line(point=True),
        f"At its best C the NTK errs on {ntk:.1f} %, the after kernel on {after:.1f} %",
        f"Digits that did not train the network. Hard margin: {listed}",
    )


if __name__ == "__main__":
    main(compute, picture)
