"""A physics-informed network

Why do physics-informed networks often miss their boundary conditions? Such a network u is trained on the residual of
an equation and on its boundary values at once. Each term has its own tangent kernel, whose size says how fast
gradient descent shrinks that term; if the residual's is far larger, the boundary is learned late, and weights by the
ratio of both help (Wang, Yu and Perdikaris, arXiv 2007.14527). `forward=` gives the kernel of any function of the
model, such as a residual.

The picture shows, for u'' = -(3 pi)^2 sin(3 pi x) with u = 0 at both ends: the ratio of the mean diagonals of both
kernels at initialisation, by the factor that multiplies the first layer; and, for the factor 8, the error of u at the
boundary during training, with equal weights and with that ratio as weight of the boundary.
"""

import math

import altair as alt
import pandas as pd
import torch
from common import AFTER, BEFORE, THIRD, decades, main, places, titled
from torch import Tensor, nn

import afterkernel as ak

WAVES, FACTOR = 3, 8
WEIGHTS = {"equal weights": BEFORE, "weighted by the ratio": AFTER}


def residual(model: nn.Module, x: Tensor) -> Tensor:
    """u'' + (WAVES pi)^2 sin(WAVES pi x) at the points x (n, 1)."""
    points = x.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(model(points).sum(), points, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), points, create_graph=True)
    return curvature + (WAVES * math.pi) ** 2 * torch.sin(WAVES * math.pi * x)


def network(factor: float) -> nn.Module:
    """Always the same network, but for the factor of its first layer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1)).double()
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter *= factor
    return model


def compute(small: bool = False) -> dict[str, pd.DataFrame]:
    """The `ratios` by factor; the error at the boundary during `training`, by step and weights."""
    factors, n, steps = ([1, FACTOR], 10, 20) if small else ([1, 2, 4, FACTOR, 16], 40, 1200)
    inside = torch.linspace(0, 1, n, dtype=torch.float64)[:, None]
    ends = inside[[0, -1]]
    ratios = {}
    for factor in factors:
        of_residual = ak.ntk(network(factor), inside, forward=residual, dtype=torch.float64)
        of_boundary = ak.ntk(network(factor), ends, dtype=torch.float64)
        ratios[factor] = float(of_residual.diagonal().mean() / of_boundary.diagonal().mean())
    rows = []
    for name, weight in zip(WEIGHTS, (1.0, ratios[FACTOR]), strict=True):
        model = network(FACTOR)
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        for step in range(steps + 1):
            at_ends = model(ends).square().mean()
            if step % (steps // 20) == 0:
                rows.append({"weights": name, "step": step, "error": float(at_ends.detach().sqrt())})
            optimizer.zero_grad()
            (residual(model, inside).square().mean() + weight * at_ends).backward()
            optimizer.step()
    return {"ratios": pd.DataFrame(ratios.items(), columns=["factor", "ratio"]), "training": pd.DataFrame(rows)}


def picture(found: dict[str, pd.DataFrame]) -> alt.HConcatChart:
    """Ratios by factor; the error at the boundary."""
    ratios, training = found["ratios"], found["training"]
    ratio = (
        alt.Chart(ratios, width=260, height=260)
        .mark_line(color=THIRD, point={"color": THIRD})
        .encode(
            alt.X("factor", title="factor of the first layer (log)", **places(ratios["factor"])),
            alt.Y("ratio", title="kernel of residual / of boundary (log)", **decades(ratios["ratio"])),
        )
    )
    errors = alt.Chart(training, width=300, height=260).encode(
        alt.X("step", title="step of Adam"),
        alt.Y("error", title="error of u at the boundary (log)", **decades(training["error"])),
        alt.Color("weights", title=None).scale(domain=list(WEIGHTS), range=list(WEIGHTS.values())).legend(orient="top"),
    )
    equal, weighted = (training[training["weights"] == name]["error"].iloc[-1] for name in WEIGHTS)
    return titled(
        alt.hconcat(ratio, errors.mark_line()),
        f"The residual's kernel is {ratios['ratio'].min():.2g} to {ratios['ratio'].max():,.0f} times the boundary's",
        f"Error at the boundary after {training['step'].max()} steps: {equal:.1g} with equal weights, "
        f"{weighted:.1g} weighted by the ratio of the kernels",
    )


if __name__ == "__main__":
    main(compute, picture)
