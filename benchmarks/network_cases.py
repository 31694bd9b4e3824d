"""The networks of `networks.py`, with random weights: of timm, transformers, torchvision, and torch's own layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from afterkernel.types import Tensor

GIB = 2**30


@dataclass(frozen=True)
class Case:
    """How a network is made, an input of n samples, the n that is measured, and the budget of the Gram matrix."""

    make: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    n: int
    budget_bytes: int = 2 * GIB
    package: str = "torch"


class LastLogit(nn.Module):
    """The logit of token 0 after the last token of a language model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, 1) for tokens (n, t)."""
        logits: Tensor = self.model(input_ids=tokens).logits
        return logits[:, -1, :1]


class Attention(nn.Module):
    """Two residual nn.MultiheadAttention layers, the mean over tokens, and a linear layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(2))
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1) for sequences (n, t, width)."""
        for layer in self.layers:
            x = x + layer(x, x, x, need_weights=False)[0]
        result: Tensor = self.head(x.mean(1))
        return result


class Recurrent(nn.Module):
    """A recurrent layer, and a linear layer on its last output."""

    def __init__(self, cells: nn.RNNBase) -> None:
        super().__init__()
        self.cells = cells
        self.head = nn.Linear(cells.hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1) for sequences (n, t, inputs)."""
        result: Tensor = self.head(self.cells(x)[0][:, -1])
        return result


class Mean(nn.Module):
    """The mean over the tokens of (n, t, width)."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, width)."""
        return x.mean(1)


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=1, **options)
        return model

    return make


def _gpt2(vocab_size: int) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers

        config = transformers.GPT2Config(
            n_layer=4, n_embd=128, n_head=4, n_positions=64, vocab_size=vocab_size, bos_token_id=0, eos_token_id=0
        )
        config.use_cache = False
        return LastLogit(transformers.GPT2LMHeadModel(config))

    return make


def _torchvision(package: str, name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import torchvision

        model: nn.Module = getattr(getattr(torchvision.models, package), name)(num_classes=1)
        return model

    return make


def _encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), Mean(), nn.Linear(64, 1))


def _transposed() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1)),
    )


def _chain() -> nn.Module:
    layers = [layer for _ in range(11) for layer in (nn.Linear(32, 32), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(32, 1))


def _images(side: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randn(n, 3, side, side)


def _tokens(vocab_size: int, tokens: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randint(0, vocab_size, (n, tokens))


def _sequences(tokens: int, width: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randn(n, tokens, width)


CASES: dict[str, Case] = {
    "vit_tiny": Case(_timm("vit_tiny_patch16_224", img_size=64), _images(64), 128, package="timm"),
    "gpt2": Case(_gpt2(1000), _tokens(1000, 64), 256, package="transformers"),
    "gpt2_50257": Case(_gpt2(50257), _tokens(50257, 64), 64, package="transformers"),
    "swin_tiny": Case(
        _timm("swin_tiny_patch4_window7_224", img_size=64, window_size=4), _images(64), 32, package="timm"
    ),
    "mobilevit_xxs": Case(_timm("mobilevit_xxs"), _images(64), 64, package="timm"),
    "attention": Case(lambda: Attention(64, 4), _sequences(32, 64), 256),
    "encoder": Case(_encoder, _sequences(32, 64), 256),
    "conv3d": Case(_torchvision("video", "r3d_18"), lambda n: torch.randn(n, 3, 8, 32, 32), 32, package="torchvision"),
    "conv_transpose": Case(_transposed, _images(16), 256),
    "gru": Case(lambda: Recurrent(nn.GRU(16, 64, batch_first=True)), _sequences(20, 16), 256),
    "lstm": Case(lambda: Recurrent(nn.LSTM(16, 64, batch_first=True)), _sequences(20, 16), 256),
    "resnet18": Case(_torchvision("resnet", "resnet18"), _images(32), 512, package="torchvision"),
    "chain": Case(_chain, lambda n: torch.randn(n, 32), 200),
}
