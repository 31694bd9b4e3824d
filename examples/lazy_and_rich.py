"""Lazy against rich training

Does a network generalise because its kernel moves? Chizat, Oyallon and Bach (arXiv 1812.07956) multiply the output by
a large number alpha, after subtracting the output at initialisation, and divide the learning rate by alpha^2. The
function is fitted as before, but the weights, and with them the kernel, hardly move: training is lazy. The task,
whether the first two of 20 signs are equal, needs a network that finds these two. In runs of the command line this is
`training.output_scale` and `training.centered_output`; here it is written out.

The picture shows how far the kernel moves, and the test error of the network, by alpha: one point per initialisation,
and their means. Every training ends at the same training loss.
"""

import copy

import altair as alt
import pandas as pd
import torch
from common import AFTER, THIRD, changes, main, mlp, places, titled
from torch.nn import functional as F

import afterkernel as ak

LOSS, SIGNS = 0.02, 20
PANELS = {"kernel distance to initialisation": AFTER, "test error (%)": THIRD}


def compute(small: bool = False) -> pd.DataFrame:
    """Kernel distances and test errors by alpha and seed, with the training loss at the end."""
    alphas, seeds, n = ([1, 10], 1, 60) if small else ([0.3, 1, 3, 10, 30], 3, 200)
    x = torch.randint(2, (n + 500, SIGNS), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    y = (x[:, 0] == x[:, 1]).long()
    rows = []
    for alpha in alphas:
        for seed in range(seeds):
            torch.manual_seed(seed)
            model = mlp(SIGNS, 100, 1)
            first, before = copy.deepcopy(model), ak.ntk(model, x[:n])
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1 / alpha**2, momentum=0.9)
            loss = torch.tensor(torch.inf)
            while loss > LOSS:
                logits = alpha * (model(x[:n]) - first(x[:n]).detach())[:, 0]
                loss = F.binary_cross_entropy_with_logits(logits, y[:n].float())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                wrong = (model(x[n:]) > first(x[n:]))[:, 0] != y[n:]
            numbers = (ak.kernel_distance(before, ak.ntk(model, x[:n])), 100 * float(wrong.double().mean()))
            for panel, value in zip(PANELS, numbers, strict=True):
                rows.append(
                    {"alpha": alpha, "seed": seed, "panel": panel, "value": value, "loss": float(loss.detach())}
                )
    return pd.DataFrame(rows)


def picture(found: pd.DataFrame) -> alt.HConcatChart:
    """Distance and test error by alpha."""
    panels = []
    for panel, colour in PANELS.items():
        base = alt.Chart(found[found["panel"] == panel], width=290, height=260).encode(
            alt.X("alpha", title="alpha (log), from rich to lazy", **places(found["alpha"]))
        )
        mean = base.encode(alt.Y("mean(value)", title=panel)).mark_line(color=colour)
        panels.append(mean + base.mark_point(color=colour, size=22).encode(y="value"))
    means = found.groupby(["panel", "alpha"])["value"].mean()
    moved, error = (means[panel] for panel in PANELS)
    return titled(
        alt.hconcat(*panels),
        f"As alpha grows, the test error {changes(error.iloc[0], error.iloc[-1], ' %')}",
        f"The kernel's distance to its start {changes(moved.iloc[0], moved.iloc[-1])}. "
        f"An mlp decides whether the first two of {SIGNS} signs are equal",
    )


if __name__ == "__main__":
    main(compute, picture)
