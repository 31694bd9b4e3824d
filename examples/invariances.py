"""Invariances of a trained network

Does a network become invariant to shifts by itself, or only if it is shown shifted images? The invariance of a kernel
is the mean cosine between the gradients of an image and of its shifted version: 1 if the shift changes nothing.
`ak.invariance` takes a model and images, here with its own transforms of `ak.transforms` for the training too.

The picture shows the invariance of the tangent kernel by the shift in pixels: at initialisation, after training on
the images as they are, and after training on images shifted at random by up to two pixels. Points are
initialisations.
"""

import altair as alt
import pandas as pd
import torch
from common import AFTER, BEFORE, THIRD, cnn, digits, main, places, titled, train
from torch import Tensor

import afterkernel as ak

NAMES = {"trained on shifted images": AFTER, "trained on images as they are": THIRD, "at initialisation": BEFORE}


def shifted(images: Tensor) -> Tensor:
    """All images of a batch, moved by the same random number of pixels."""
    right, down = torch.randint(-2, 3, (2,)).tolist()
    return ak.transforms.shift(images, right, down)


def compute(small: bool = False) -> pd.DataFrame:
    """Invariances by training, shift and seed."""
    n, steps, seeds, shifts = (20, 5, 1, [1]) if small else (100, 500, 3, [1, 2, 3])
    data = digits([3, 8], 150, n)
    rows = []
    for seed in range(seeds):
        for name, augment, stop in zip(NAMES, (shifted, torch.clone, torch.clone), (steps, steps, 0), strict=True):
            torch.manual_seed(seed)
            model = cnn()
            list(train(model, data.x, data.y, 0.02, [stop], augment))
            for px in shifts:
                found = ak.invariance(model, data.x_test, "shift", strength=px)
                rows.append({"training": name, "seed": seed, "shift": px, "invariance": found})
    return pd.DataFrame(rows)


def picture(found: pd.DataFrame) -> alt.LayerChart:
    """Invariances by shift."""
    means = found[found["shift"] == found["shift"].min()].groupby("training")["invariance"].mean()
    colour = alt.Color("training", legend=None).scale(domain=list(NAMES), range=list(NAMES.values()))
    base = alt.Chart(found, width=400, height=290).encode(
        alt.X("shift", title="shift (pixels)", **places(found["shift"], "linear")), color=colour
    )
    mean = base.encode(alt.Y("mean(invariance)", title="invariance (mean cosine)"))
    ends = mean.transform_filter(f"datum.shift == {found['shift'].max()}").mark_text(align="left", dx=8)
    moved, as_is, start = (means[name] for name in NAMES)
    return titled(
        mean.mark_line() + base.mark_point(size=22).encode(y="invariance") + ends.encode(text="training"),
        f"Invariance under a shift by a pixel: {start:.2f} at first, {as_is:.2f} trained, {moved:.2f} with shifts",
        f"Tangent kernel of a small CNN on digits, 3 against 8; {found['seed'].nunique()} initialisations",
    )


if __name__ == "__main__":
    main(compute, picture)
