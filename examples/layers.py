"""The kernel of each layer

Which layers make up the kernel, and which of them change? The tangent kernel is the sum of one kernel per layer.
`ak.kernels.layer_ntks` returns them all at the cost of one kernel.

The picture shows, for each layer of a network, its share of the trace of the kernel before and after training, and
how far its kernel has moved (kernel distance: 1 - cosine of the two matrices).
"""

from collections import OrderedDict

import altair as alt
import pandas as pd
import torch
from common import AFTER, BEFORE, THIRD, digits, main, titled, train
from torch import nn

import afterkernel as ak

WHEN = {"before": BEFORE, "after": AFTER}


def network() -> nn.Module:
    """Three convolutions and two linear layers."""
    layers = OrderedDict[str, nn.Module]()
    for number, inputs in enumerate([1, 12, 12], start=1):
        layers[f"convolution {number}"] = nn.Conv2d(inputs, 12, 3, padding=1)
        layers[f"relu {number}"] = nn.ReLU()
    layers["flatten"], layers["linear 1"] = nn.Flatten(), nn.Linear(12 * 64, 32)
    layers["relu 4"], layers["linear 2"] = nn.ReLU(), nn.Linear(32, 1)
    return nn.Sequential(layers)


def compute(small: bool = False) -> pd.DataFrame:
    """By layer: its share of the trace in percent before and after training, and the distance between both kernels."""
    n, steps = (30, 5) if small else (250, 400)
    data = digits([3, 8], n, 0)
    torch.manual_seed(0)
    model = network()
    before, after = (ak.kernels.layer_ntks(model, data.x) for _ in train(model, data.x, data.y, 0.01, [0, steps]))
    wholes = [sum(float(K.trace()) for K in found.values()) for found in (before, after)]
    return pd.DataFrame(
        {
            "layer": list(before),
            "before": [100 * float(K.trace()) / wholes[0] for K in before.values()],
            "after": [100 * float(K.trace()) / wholes[1] for K in after.values()],
            "distance": [ak.kernel_distance(before[name], after[name]) for name in before],
        }
    )


def picture(found: pd.DataFrame) -> alt.HConcatChart:
    """Shares of the trace, and distances."""
    order = list(found["layer"])
    shares = found.melt("layer", list(WHEN), var_name="when", value_name="share")
    y = alt.Y("layer", sort=order, title=None)
    colour = alt.Color("when", title="training", legend=alt.Legend(orient="top")).scale(
        domain=list(WHEN), range=list(WHEN.values())
    )
    bars = (
        alt.Chart(shares, width=300, height=250)
        .mark_bar()
        .encode(alt.X("share", title="share of the trace (%)"), y, colour, yOffset=alt.YOffset("when", sort=list(WHEN)))
    )
    moved = (
        alt.Chart(found, width=240, height=250)
        .mark_point(filled=True, size=70, color=THIRD)
        .encode(
            alt.X("distance", title="kernel distance").scale(zero=True),
            alt.Y("layer", sort=order, title=None, axis=None),
        )
    )
    most = found.loc[found["distance"].idxmax()]
    return titled(
        alt.hconcat(bars, moved),
        f"The kernel of {most['layer']} moves most (distance {most['distance']:.2f})",
        f"Its share of the trace: {most['before']:.1f} % before, {most['after']:.1f} % after; digits, 3 against 8",
    )


if __name__ == "__main__":
    main(compute, picture)
