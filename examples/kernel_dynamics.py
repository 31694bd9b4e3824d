"""The kernel during training

When does the kernel change? Compare it with itself at all other steps: early in training the kernel often turns fast,
and later it mostly grows (Fort et al., arXiv 2010.15110). `ak.kernel_distance` is 1 minus the cosine of two matrices,
so that growth alone doesn't count.

The picture shows the kernel distance between every two snapshots, and the velocity: the distance from one snapshot to
the next, divided by the steps between them.
"""

import itertools

import altair as alt
import pandas as pd
import torch
from common import AFTER, cnn, decades, digits, main, places, titled, train

import afterkernel as ak


def compute(small: bool = False) -> dict[str, pd.DataFrame]:
    """The `distances` of each pair of snapshots, and the `velocity` after each snapshot."""
    n, stops = (30, [0, 1, 4, 16]) if small else (200, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    data = digits([3, 8], n, 0)
    torch.manual_seed(0)
    model = cnn()
    kernels = {step: ak.ntk(model, data.x) for step in train(model, data.x, data.y, 0.05, stops)}
    distances = [
        {"step": str(i), "other": str(j), "distance": ak.kernel_distance(kernels[i], kernels[j])}
        for i in stops
        for j in stops
    ]
    velocity = [
        {"step": j, "velocity": ak.kernel_distance(kernels[i], kernels[j]) / (j - i)}
        for i, j in itertools.pairwise(stops)
    ]
    return {"distances": pd.DataFrame(distances), "velocity": pd.DataFrame(velocity)}


def picture(found: dict[str, pd.DataFrame]) -> alt.HConcatChart:
    """Distances of all pairs; velocities."""
    distances, velocity = found["distances"], found["velocity"]
    order = list(dict.fromkeys(distances["step"]))
    pairs = (
        alt.Chart(distances, width=300, height=300)
        .mark_rect()
        .encode(
            alt.X("step", sort=order, title="step", axis=alt.Axis(labelAngle=0)),
            alt.Y("other", sort=order[::-1], title="step"),
            alt.Color("distance", title="kernel distance")
            .scale(scheme="blues")
            .legend(orient="top", gradientLength=300),
        )
    )
    speed = (
        alt.Chart(velocity, width=280, height=300)
        .mark_line(color=AFTER, point={"color": AFTER})
        .encode(
            alt.X("step", title="step (log)", **places(velocity["step"])),
            alt.Y("velocity", title="kernel distance per step (log)", **decades(velocity["velocity"])),
        )
    )
    peak = velocity.loc[velocity["velocity"].idxmax()]
    ratio = peak["velocity"] / velocity["velocity"].iloc[-1]
    whole = distances[(distances["step"] == order[0]) & (distances["other"] == order[-1])]["distance"].item()
    return titled(
        alt.hconcat(pairs, speed),
        f"The kernel turns fastest up to step {peak['step']:.0f}, {ratio:,.0f} times as fast as at the end",
        f"A small CNN on digits, 3 against 8; distance from the first to the last snapshot {whole:.2f}",
    )


if __name__ == "__main__":
    main(compute, picture)
