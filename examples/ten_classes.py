"""Ten classes

Which classes does a network take for similar, before and after training? With several outputs, `output="trace"` is
the sum of the kernels of all outputs; one-vs-rest SVMs share that one matrix. The cosines K_ij / sqrt(K_ii K_jj),
averaged over the images of two classes, say how close these classes are for the kernel.

The picture shows these mean cosines for all pairs of digits, for the tangent kernel at initialisation and for the
after kernel. The paler the field, the less the two digits have in common.
"""

import altair as alt
import pandas as pd
import torch
from common import AFTER, changes, cnn, digits, main, titled, train
from torch import Tensor

import afterkernel as ak

WHEN = ["at initialisation", "after training"]


def class_cosines(K: Tensor, y: Tensor) -> Tensor:
    """Mean cosines between the images of each pair of classes (c, c), no image with itself."""
    roots = K.diagonal().sqrt()
    cosines = (K / roots[:, None] / roots).fill_diagonal_(0)
    members = torch.nn.functional.one_hot(y).to(K.dtype)
    pairs = members.sum(0)[:, None] * members.sum(0) - torch.diag(members.sum(0))
    return members.T @ cosines @ members / pairs


def compute(small: bool = False) -> dict[str, pd.DataFrame]:
    """The `cosines` of each pair of classes, and the `errors` of one-vs-rest SVMs in percent, before and after."""
    n_train, n_test, steps = (100, 40, 5) if small else (500, 500, 400)
    data = digits(range(10), n_train, n_test)
    torch.manual_seed(0)
    model = cnn(outputs=10)
    cosines, errors = [], []
    for when, _ in zip(WHEN, train(model, data.x, data.y, 0.05, [0, steps]), strict=True):
        K = ak.ntk(model, data.x, output="trace")
        svm = ak.OneVsRestSVM().fit(K, data.y)
        wrong = svm.predict(ak.ntk(model, data.x_test, data.x, output="trace")) != data.y_test
        errors.append({"when": when, "error": 100 * float(wrong.float().mean())})
        found = class_cosines(K, data.y)
        cosines += [
            {"when": when, "first": i, "second": j, "cosine": float(found[i, j])} for i in range(10) for j in range(10)
        ]
    return {"cosines": pd.DataFrame(cosines), "errors": pd.DataFrame(errors)}


def picture(found: dict[str, pd.DataFrame]) -> alt.FacetChart:
    """One map of mean cosines before and one after training."""
    before, after = found["errors"]["error"]
    cosines = found["cosines"]
    between = cosines[cosines["first"] != cosines["second"]].groupby("when")["cosine"].mean()
    maps = (
        alt.Chart(cosines, width=250, height=250)
        .mark_rect()
        .encode(
            alt.X("first:O", title="digit", axis=alt.Axis(labelAngle=0)),
            alt.Y("second:O", title="digit"),
            alt.Color("cosine", title="mean cosine").scale(range=["#ffffff", AFTER], domain=[0, 1]),
            alt.Column("when", sort=WHEN),
        )
    )
    return titled(
        maps,
        f"The mean cosine of different digits {changes(between[WHEN[0]], between[WHEN[1]])}",
        f"The test error of one-vs-rest SVMs {changes(before, after, ' %')}; the kernel is summed over ten outputs",
    )


if __name__ == "__main__":
    main(compute, picture)
