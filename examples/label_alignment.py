"""Where the labels lie in the spectrum

Does training turn the kernel towards the task? A kernel learns fast what lies in its leading eigenvectors.
`ak.spectrum` returns the eigenvalues of K / n and, for labels, the share of them that the leading eigenvectors carry.

The picture shows that share by the number of eigenvectors for the kernel at several steps of training, on images that
did not train the network. The higher a curve on the left, the fewer directions hold the task.
"""

import altair as alt
import pandas as pd
import torch
from common import AFTER, BEFORE, changes, digits, main, mlp, places, titled, train

import afterkernel as ak


def compute(small: bool = False) -> dict[str, pd.DataFrame]:
    """The label `energy` by step and number of eigenvectors, and the target `alignment` by step."""
    n, stops = (40, [0, 5]) if small else (170, [0, 5, 20, 100, 400])
    data = digits([3, 8], n, n)
    torch.manual_seed(0)
    model = mlp(64, 200, 200, 1)
    energy, alignment = [], []
    for step in train(model, data.x, data.y, 0.02, stops):
        K = ak.ntk(model, data.x_test)
        shares = ak.spectrum(K, data.y_test).label_energy
        energy.append(pd.DataFrame({"step": step, "rank": range(1, n + 1), "share": 100 * shares}))
        alignment.append({"step": step, "alignment": ak.target_alignment(K, data.y_test)})
    return {"energy": pd.concat(energy, ignore_index=True), "alignment": pd.DataFrame(alignment)}


def picture(found: dict[str, pd.DataFrame]) -> alt.LayerChart:
    """Label energy by number of eigenvectors."""
    energy, alignment = found["energy"], found["alignment"]["alignment"]
    steps = sorted(set(energy["step"]))
    base = alt.Chart(energy, width=440, height=290).encode(
        alt.X("rank", title="leading eigenvectors (log)", **places([1, 2, 3, 5, 10, 20, 50, 100])),
        alt.Y("share", title="share of the labels (%)").scale(domain=[0, 100]),
        alt.Color("step:O", title="step").scale(domain=steps, range=[BEFORE, "#a5c0f7", "#7497f0", "#4a70e4", AFTER]),
    )
    two = energy[energy["rank"] == 2].set_index("step")["share"]
    return titled(
        base.mark_line(strokeWidth=2.2),
        f"The share of the labels in the two leading eigenvectors {changes(two.iloc[0], two.iloc[-1], ' %')}",
        f"Alignment with the labels {changes(alignment.iloc[0], alignment.iloc[-1])}; digits, 3 against 8",
    )


if __name__ == "__main__":
    main(compute, picture)
