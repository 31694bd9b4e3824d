"""Wrong labels

Does the kernel turn towards the wrong labels that a network is trained on? A quarter of the training labels are
wrong. Since the truth is known here, the alignment of the kernel with both sets of labels can be followed: with those
that the network is trained on, and with the true ones. `ak.target_alignment` is the cosine between K and y y^T.

The picture shows both alignments, and the training error on both sets of labels, by step.
"""

import altair as alt
import pandas as pd
import torch
from common import AFTER, THIRD, digits, main, mlp, places, titled, train

import afterkernel as ak

NAMES = {"true labels": AFTER, "labels of the training": THIRD}


def compute(small: bool = False) -> pd.DataFrame:
    """Alignment and error in percent by step and labels."""
    n, stops = (40, [0, 5]) if small else (250, [0, 3, 10, 30, 100, 300, 1000, 2000])
    data = digits([3, 8], n, 0)
    noisy = data.y.clone()
    wrong = torch.randperm(n, generator=torch.Generator().manual_seed(1))[: n // 4]
    noisy[wrong] = 1 - noisy[wrong]
    torch.manual_seed(0)
    model = mlp(64, 200, 200, 1)
    rows = []
    for step in train(model, data.x, noisy, 0.02, stops):
        K = ak.ntk(model, data.x)
        with torch.no_grad():
            answers = (model(data.x)[:, 0] > 0).long()
        for name, y in zip(NAMES, (data.y, noisy), strict=True):
            error = 100 * float((answers != y).double().mean())
            rows.append({"step": step, "labels": name, "alignment": ak.target_alignment(K, y), "error": error})
    return pd.DataFrame(rows)


def picture(found: pd.DataFrame) -> alt.HConcatChart:
    """Alignments, and errors."""
    last = found["step"].max()
    base = alt.Chart(found, width=300, height=260).encode(
        alt.X("step", title="step (log(1 + step))", **places(found["step"], "symlog")),
        color=alt.Color("labels", legend=None).scale(domain=list(NAMES), range=list(NAMES.values())),
    )
    panels = []
    for column, title in {"alignment": "alignment of the kernel with labels", "error": "training error (%)"}.items():
        line = base.encode(alt.Y(column, title=title))
        ends = line.transform_filter(f"datum.step == {last}").mark_text(align="left", dx=6).encode(text="labels")
        panels.append(line.mark_line(point=True) + ends if column == "alignment" else line.mark_line(point=True))
    true = found[found["labels"] == "true labels"].set_index("step")["alignment"]
    other = found[found["labels"] != "true labels"].set_index("step")["alignment"]
    return titled(
        alt.hconcat(*panels),
        f"At step {last} the alignment with the true labels is {true[last]:.2f}, with the others {other[last]:.2f}",
        "A quarter of the labels of the training are wrong; an mlp on digits, 3 against 8",
    )


if __name__ == "__main__":
    main(compute, picture)
