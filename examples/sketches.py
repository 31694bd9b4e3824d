"""Random features of a kernel

How many random features stand in for the exact kernel? `ak.sketch` shortens the gradient of each sample to dim
numbers E whose products E E^T estimate the tangent kernel without bias, for data sets whose n x n matrix is too
large. Its documented error of an entry, relative to the lengths of the two gradients, is at most sqrt((1 + c^2) /
dim), with c the cosine of the two.

The picture shows the measured error by dim, one point per random map, with that bound on logarithmic axes; and the
test error of a hard-margin SVM on the estimate next to that on the exact kernel.
"""

import altair as alt
import pandas as pd
import torch
from common import AFTER, INK, THIRD, decades, digits, main, mlp, places, titled

import afterkernel as ak


def compute(small: bool = False) -> pd.DataFrame:
    """By dim and seed: the root mean square error of an entry, its bound, and test errors in percent."""
    dims, seeds, n = ([64, 256], 2, 30) if small else ([64, 128, 256, 512, 1024, 2048, 4096], 5, 160)
    data = digits([3, 8], n, n)
    torch.manual_seed(0)
    model = mlp(64, 256, 256, 1)
    both = torch.cat([data.x, data.x_test])
    K = ak.ntk(model, both)

    def svm_error(kernel: torch.Tensor) -> float:
        svm = ak.HardMarginSVM().fit(kernel[:n, :n], data.y)
        return 100 * float((svm.predict(kernel[n:, :n]) != data.y_test).double().mean())

    lengths = K.diagonal().sqrt()
    cosines = K / lengths[:, None] / lengths
    exact, rows = svm_error(K), []
    for dim in dims:
        bound = float(((1 + cosines**2) / dim).mean().sqrt())
        for seed in range(seeds):
            E = ak.sketch(model, both, dim=dim, seed=seed)
            error = float((E @ E.T / lengths[:, None] / lengths - cosines).square().mean().sqrt())
            rows.append({"dim": dim, "error": error, "bound": bound, "svm": svm_error(E @ E.T), "exact": exact})
    return pd.DataFrame(rows)


def picture(found: pd.DataFrame) -> alt.HConcatChart:
    """Errors of entries, and of SVMs."""
    dims = sorted(set(found["dim"]))
    base = alt.Chart(found, width=300, height=270).encode(alt.X("dim", title="dim (log)", **places(dims)))
    entry = alt.Y("error", title="error of an entry (log)", **decades(found["error"]))
    bound = base.mark_line(color=INK, strokeDash=[4, 4]).encode(y="mean(bound)")
    classified = base.mark_point(color=THIRD, size=24).encode(alt.Y("svm", title="test error of the SVM (%)"))
    exact = base.mark_line(color=INK).encode(y="mean(exact)")
    label = {"align": "left", "baseline": "bottom", "dx": 4, "dy": -4}
    here = f"datum.dim == {dims[len(dims) // 2]}"
    means = found.groupby("dim")[["error", "bound"]].mean()
    ratio = means["error"] / means["bound"]
    return titled(
        alt.hconcat(
            base.mark_point(color=AFTER, size=24).encode(entry)
            + bound
            + base.transform_filter(here)
            .mark_text(**label)
            .encode(y="mean(bound)", text=alt.value("documented bound")),
            classified
            + exact
            + base.transform_filter(f"datum.dim == {dims[0]}")
            .mark_text(**{**label, "baseline": "top", "dy": 6})
            .encode(y="mean(exact)", text=alt.value("exact kernel")),
        ),
        f"The error of an entry is {ratio.min():.2f} to {ratio.max():.2f} of its bound",
        f"Random features of the NTK of an mlp on digits; {len(found) // len(dims)} random maps for each dim",
    )


if __name__ == "__main__":
    main(compute, picture)
