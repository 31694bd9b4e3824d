"""Networks put together from torch's own layers, and some written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from afterkernel.types import Tensor
from model_families.family import Families, Made, Make, parts_of

PREFIX, PACKAGE = "layers", "torch"


def _vectors(n: int) -> Tensor:
    return torch.randn(n, 6)


def _sequences(n: int) -> Tensor:
    return torch.randn(n, 5, 6)


def _tokens(n: int) -> Tensor:
    return torch.randint(0, 20, (n, 5))


def _images(n: int) -> Tensor:
    return torch.randn(n, 2, 8, 8)


def _net(call: Callable[..., Tensor], inputs: Callable[[int], Tensor], parts: Callable[[], dict[str, Any]]) -> Make:
    def make(n: int) -> Made:
        return parts_of(**parts()), inputs(n), call

    return make


def _chain(inputs: Callable[[int], Tensor], *parts: Callable[[], nn.Module]) -> Make:
    return lambda n: (nn.Sequential(*(part() for part in parts)), inputs(n))


def _head(width: int) -> nn.Linear:
    return nn.Linear(width, 1)


def _recurrent(kind: str, **options: Any) -> Make:
    width = 2 if options.get("bidirectional") else 1
    return _net(
        lambda s, x: s.head(s.cells(x)[0][:, -1]),
        _sequences,
        lambda: {"cells": getattr(nn, kind)(6, 7, batch_first=True, **options), "head": _head(7 * width)},
    )


def _equilibrium(s: Any, x: Tensor) -> Tensor:
    z = torch.zeros(len(x), 7, dtype=x.dtype)
    for _ in range(20):
        z = torch.tanh(0.3 * s.inner(z) + s.outer(x))
    return s.head(z)  # type: ignore[no-any-return]


def _message_passing(s: Any, x: Tensor) -> Tensor:
    """Dense graphs: features (n, nodes, 6), edges where the features are alike."""
    edges = torch.softmax(x @ x.transpose(1, 2), dim=-1)
    h = torch.relu(s.first(edges @ x))
    h = torch.relu(s.second(edges @ h))
    return s.head(h.mean(1))  # type: ignore[no-any-return]


def _kolmogorov_arnold(s: Any, x: Tensor) -> Tensor:
    basis = torch.exp(-((x.unsqueeze(-1) - s.grid) ** 2))
    h = torch.einsum("nig,oig->no", basis, s.inner)
    basis = torch.exp(-((h.unsqueeze(-1) - s.grid) ** 2))
    return torch.einsum("nig,oig->no", basis, s.outer)


def _physics(s: Any, x: Tensor) -> Tensor:
    """The residual u'' + u of an equation in the first coordinate."""
    points = x.detach().requires_grad_()
    with torch.enable_grad():
        u = s.last(torch.tanh(s.first(points)))
        (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
        (curvature,) = torch.autograd.grad(slope[:, 0].sum(), points, create_graph=True)
    return curvature[:, :1] + u  # type: ignore[no-any-return]


def _fourier(s: Any, x: Tensor) -> Tensor:
    return s.head(torch.fft.irfft(torch.fft.rfft(x) * s.weight, n=x.shape[1]))  # type: ignore[no-any-return]


def _rotary(s: Any, x: Tensor) -> Tensor:
    turned = torch.view_as_real(torch.view_as_complex(s.first(x).unflatten(-1, (4, 2))) * s.turns).flatten(2)
    return s.head(torch.tanh(turned).mean(1))  # type: ignore[no-any-return]


def _attention(batch_first: bool) -> Make:
    def call(s: Any, x: Tensor) -> Tensor:
        x = x if batch_first else x.transpose(0, 1)
        h = s.attention(x, x, x, need_weights=False)[0]
        return s.head(h.mean(1 if batch_first else 0))  # type: ignore[no-any-return]

    return _net(
        call,
        _sequences,
        lambda: {"attention": nn.MultiheadAttention(6, 2, batch_first=batch_first), "head": _head(6)},
    )


def _encoder(**options: Any) -> Make:
    return _net(
        lambda s, x: s.head(s.encoder(x).mean(1)),
        _sequences,
        lambda: {
            "encoder": nn.TransformerEncoder(
                nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, **options), 2, enable_nested_tensor=False
            ),
            "head": _head(6),
        },
    )


def _experts(s: Any, x: Tensor) -> Tensor:
    weights = torch.softmax(s.gate(x), -1)
    chosen = weights.topk(2).indices
    out = torch.zeros(len(x), 1, dtype=x.dtype)
    for k in range(4):
        rows = (chosen == k).any(1).nonzero().squeeze(1)
        if len(rows):
            out = out.index_add(0, rows, weights[rows, k : k + 1] * s.experts[k](x[rows]))
    return out


def _tied(s: Any, x: Tensor) -> Tensor:
    return F.linear(torch.tanh(s.inner(s.words(x).mean(1))), s.words.weight)


def families() -> Families:
    """By name."""

    def mlp(wrap: Callable[[nn.Module], nn.Module] = lambda layer: layer) -> Make:
        return _chain(_vectors, lambda: wrap(nn.Linear(6, 8)), nn.Tanh, lambda: wrap(nn.Linear(8, 1)))

    plain: dict[str, Make] = {
        "mlp": mlp(),
        "mlp_weight_norm": mlp(nn.utils.parametrizations.weight_norm),
        "mlp_weight_norm_old": mlp(torch.nn.utils.weight_norm),
        "mlp_spectral_norm": mlp(nn.utils.parametrizations.spectral_norm),
        "mlp_spectral_norm_old": mlp(torch.nn.utils.spectral_norm),
        "mlp_orthogonal": mlp(nn.utils.parametrizations.orthogonal),
        "gru": _recurrent("GRU"),
        "lstm": _recurrent("LSTM"),
        "lstm_bidirectional": _recurrent("LSTM", bidirectional=True, num_layers=2),
        "rnn": _recurrent("RNN"),
        "attention": _attention(True),
        "attention_sequence_first": _attention(False),
        "transformer_encoder": _encoder(),
        "transformer_encoder_norm_first": _encoder(norm_first=True, activation="gelu"),
        "graph_dense": _net(
            _message_passing,
            _sequences,
            lambda: {"first": nn.Linear(6, 8), "second": nn.Linear(8, 8), "head": _head(8)},
        ),
        "conv1d": _chain(
            lambda n: torch.randn(n, 2, 16),
            lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1),
            nn.ReLU,
            lambda: nn.Conv1d(4, 6, 3, dilation=2),
            nn.Flatten,
            lambda: _head(24),
        ),
        "conv2d_groups": _chain(
            _images,
            lambda: nn.Conv2d(2, 4, 3, padding="same", padding_mode="circular"),
            nn.GELU,
            lambda: nn.Conv2d(4, 8, 3, groups=4, stride=2),
            lambda: nn.AdaptiveAvgPool2d(1),
            nn.Flatten,
            lambda: _head(8),
        ),
        "conv2d_strided_1x1": _chain(
            lambda n: torch.randn(n, 3, 32, 32),
            lambda: nn.Conv2d(3, 48, 1, stride=2),
            nn.ReLU,
            lambda: nn.AdaptiveAvgPool2d(1),
            nn.Flatten,
            lambda: _head(48),
        ),
        "conv3d": _chain(
            lambda n: torch.randn(n, 2, 4, 6, 6),
            lambda: nn.Conv3d(2, 4, 3, padding=1),
            lambda: nn.BatchNorm3d(4),
            nn.ReLU,
            nn.Flatten,
            lambda: _head(4 * 4 * 36),
        ),
        "conv_transpose": _chain(
            _images,
            lambda: nn.Conv2d(2, 4, 3, stride=2),
            nn.ELU,
            lambda: nn.ConvTranspose2d(4, 2, 3, stride=2),
            nn.Flatten,
            lambda: _head(2 * 49),
        ),
        "norms": _chain(
            _images,
            lambda: nn.Conv2d(2, 8, 3),
            lambda: nn.GroupNorm(2, 8),
            nn.SiLU,
            lambda: nn.InstanceNorm2d(8, affine=True),
            lambda: nn.Conv2d(8, 4, 3),
            lambda: nn.BatchNorm2d(4),
            lambda: nn.PReLU(4),
            nn.Flatten,
            lambda: nn.LayerNorm(64),
            lambda: _head(64),
        ),
        "bilinear": _net(
            lambda s, x: s.head(torch.tanh(s.pair(x[:, :3], x[:, 3:]))),
            _vectors,
            lambda: {"pair": nn.Bilinear(3, 3, 5), "head": _head(5)},
        ),
        "embedding_bag": _chain(_tokens, lambda: nn.EmbeddingBag(20, 6, mode="mean"), nn.Tanh, lambda: _head(6)),
        "embedding_bag_sparse": _chain(
            _tokens, lambda: nn.EmbeddingBag(20, 6, mode="sum", sparse=True), nn.Tanh, lambda: _head(6)
        ),
        "embedding_tied": _net(_tied, _tokens, lambda: {"words": nn.Embedding(20, 6), "inner": nn.Linear(6, 6)}),
        "fourier": _net(
            _fourier,
            _vectors,
            lambda: {"weight": nn.Parameter(torch.randn(4, dtype=torch.complex64)), "head": _head(6)},
        ),
        "rotary": _net(
            _rotary,
            _sequences,
            lambda: {
                "turns": nn.Buffer(
                    torch.polar(torch.ones(5, 4), torch.outer(torch.arange(5.0), 2.0 ** -torch.arange(4.0)))
                ),
                "first": nn.Linear(6, 8),
                "head": _head(8),
            },
        ),
        "kolmogorov_arnold": _net(
            _kolmogorov_arnold,
            _vectors,
            lambda: {
                "grid": nn.Buffer(torch.linspace(-2, 2, 5)),
                "inner": nn.Parameter(torch.randn(4, 6, 5) / math.sqrt(30)),
                "outer": nn.Parameter(torch.randn(1, 4, 5)),
            },
        ),
        "physics_informed": _net(_physics, _vectors, lambda: {"first": nn.Linear(6, 8), "last": _head(8)}),
        "equilibrium": _net(
            _equilibrium, _vectors, lambda: {"inner": nn.Linear(7, 7), "outer": nn.Linear(6, 7), "head": _head(7)}
        ),
        "residual_scaled": _net(
            lambda s, x: s.head(x + s.scale * torch.tanh(s.inner(x))),
            _vectors,
            lambda: {"scale": nn.Parameter(torch.rand(6)), "inner": nn.Linear(6, 6), "head": _head(6)},
        ),
        "siren": _net(
            lambda s, x: s.head(torch.sin(30 * s.second(torch.sin(30 * s.first(x))))),
            _vectors,
            lambda: {"first": nn.Linear(6, 8), "second": nn.Linear(8, 8), "head": _head(8)},
        ),
        "pooled_windows": _net(
            lambda s, x: s.head(torch.relu(s.each(x.flatten(0, 1))).view(len(x), x.shape[1], -1).mean(1)),
            _sequences,
            lambda: {"each": nn.Linear(6, 8), "head": _head(8)},
        ),
        "gated_linear": _net(
            lambda s, x: s.head(F.glu(s.inner(x))),
            _vectors,
            lambda: {"inner": nn.Linear(6, 16), "head": _head(8)},
        ),
    }
    plain["lstm_projected"] = _net(
        lambda s, x: s.head(s.cells(x)[0][:, -1]),
        _sequences,
        lambda: {"cells": nn.LSTM(6, 7, proj_size=4, batch_first=True), "head": _head(4)},
    )
    found: Families = {name: (make, None) for name, make in plain.items()}
    found["embedding_tied"] = (plain["embedding_tied"], 3)
    found["mixture_of_experts"] = (
        _net(
            _experts,
            _vectors,
            lambda: {"gate": nn.Linear(6, 4), "experts": nn.ModuleList(nn.Linear(6, 1) for _ in range(4))},
        ),
        None,
    )
    return found
