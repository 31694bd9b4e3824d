"""What all examples share: the digits, a training loop, the style of the pictures, and the command line."""

from __future__ import annotations

import argparse
import io
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import altair as alt
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

# Before training, after training, a third case, and whatever is neither.
BEFORE, AFTER, THIRD, INK = "#8b95a5", "#1d4ed8", "#d9480f", "#1f2937"
_COLOURS = 200
_STYLE: dict[str, Any] = {
    "background": "white",
    "padding": 12,
    "font": "DejaVu Sans, Helvetica, Arial, sans-serif",
    "title": {
        **{"fontSize": 15, "color": INK, "subtitleFontSize": 12, "subtitleColor": "#4b5563"},
        **{"anchor": "start", "offset": 14, "subtitlePadding": 5},
    },
    "axis": {
        **{"gridColor": "#e5e7eb", "domainColor": "#9ca3af", "tickColor": "#9ca3af", "labelColor": INK},
        **{"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"},
    },
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 300},
    "header": {"labelFontSize": 12, "labelColor": INK, "title": None},
    "view": {"stroke": None},
    "text": {"fontSize": 12},
}


class Digits(NamedTuple):
    """Images of 8x8 pixels, (n, 1, 8, 8) in [0, 1], and labels (n,) in {0, 1, ...}; for training and for testing."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


def digits(classes: Sequence[int], n_train: int, n_test: int, side: int = 8) -> Digits:
    """Scikit-learn's digits of these classes, always the same; label i is classes[i].

    `side` above 8 makes them harder: each digit is then at a random place of a black image of that side.
    """
    found = load_digits()
    labels = torch.full((10,), -1)
    labels[torch.tensor(classes)] = torch.arange(len(classes))
    y = labels[torch.tensor(found.target)]
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(y), generator=generator)
    order = order[y[order] >= 0][: n_train + n_test]
    y = y[order]
    x = torch.zeros(len(y), 1, side, side)
    for image, digit in zip(x, found.images[order], strict=True):
        down, right = torch.randint(side - 7, (2,), generator=generator).tolist()
        image[0, down : down + 8, right : right + 8] = torch.tensor(digit) / 16
    return Digits(x[:n_train], y[:n_train], x[n_train:], y[n_train:])


def loss_of(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of one logit per sample for two classes, or of one logit per class."""
    if outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs[:, 0], y.float())
    return F.cross_entropy(outputs, y)


def mlp(*widths: int) -> nn.Sequential:
    """An mlp with these numbers of inputs, hidden units and outputs."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(side: int = 8, outputs: int = 1) -> nn.Sequential:
    """Two convolutions of 12 channels, a maximum over 2x2 pixels, and a linear layer, for images of this side."""
    convolutions = [nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12 * (side // 2 - 2) ** 2, outputs))


def train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    lr: float,
    stops: Sequence[int],
    augment: Callable[[Tensor], Tensor] = torch.clone,
) -> Iterator[int]:
    """Train by SGD with momentum on batches of 32, each of them augmented, and pause at each step in `stops`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for step in range(max(stops) + 1):
        if step in stops:
            yield step
        batch = torch.randint(len(x), (32,), generator=generator)
        optimizer.zero_grad()
        loss_of(model(augment(x[batch])), y[batch]).backward()
        optimizer.step()


def changes(before: float, after: float, unit: str = "") -> str:
    """What a number does, in words: "falls from 2 to 1"."""
    first, second = f"{before:.2g}", f"{after:.2g}"
    if first == second:
        return f"stays at {first}{unit}"
    return f"{'falls' if after < before else 'rises'} from {first} to {second}{unit}"


def places(values: Iterable[float], kind: Literal["log", "symlog", "linear"] = "log") -> dict[str, Any]:
    """The scale and axis of an encoding with ticks at these values and nowhere else; symlog has a place for 0."""
    ticks = sorted(set(values))
    return {
        "scale": alt.Scale(type=kind, nice=False, zero=False, padding=10),
        "axis": alt.Axis(values=ticks, format="~g"),
    }


def decades(values: Iterable[float]) -> dict[str, Any]:
    """A logarithmic scale over the powers of ten around these values, and an axis with those as its ticks."""
    exponents = [math.log10(value) for value in values]
    ticks = [10.0**k for k in range(math.floor(min(exponents)), math.ceil(max(exponents)) + 1)]
    scale = alt.Scale(type="log", domain=[ticks[0], ticks[-1]], nice=False)
    return {"scale": scale, "axis": alt.Axis(values=ticks, format="~g")}


def titled(chart: Any, finding: str, detail: str) -> Any:
    """The chart in the style of all examples, with the finding as its title and, below it, what was measured."""
    return chart.properties(title=alt.Title(finding, subtitle=detail)).configure(**_STYLE)


def save(chart: Any, path: Path, **notes: str) -> None:
    """Write the chart as a PNG of few colours, at two pixels per point; `notes` are kept in the file."""
    buffer = io.BytesIO()
    chart.save(buffer, format="png", scale_factor=2)
    kept = PngInfo()
    for name, text in notes.items():
        kept.add_text(name, text)
    image = Image.open(buffer).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    image.save(path, optimize=True, pnginfo=kept)


def main(compute: Callable[[bool], Any], picture: Callable[[Any], Any]) -> None:
    """The command line of an example: compute its numbers, print its finding, and save its picture."""
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--small", action="store_true", help="compute less: a first look, whose finding may differ")
    parser.add_argument("--output", type=Path, default=Path(f"{name}.png"), help="where the picture is saved")
    options = parser.parse_args()
    chart = picture(compute(options.small))
    save(chart, options.output)
    print(f"{chart.title.text}\n{options.output}")
