"""Heads: from the last feature map to logits, all members of the family."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, linear
from space.families import Head, Norm
from space.layers import Linear, Ratio, share
from space.norms import LayerNorm


def pooled(x: Tensor) -> Tensor:
    """Average over the map: [N, C, H, W] -> [N, C, 1, 1]."""
    return x.mean(dim=(2, 3), keepdim=True)


class PooledLinear(nn.Module):
    """Average pooling with a norm before or after it, then a linear layer. [N, C, H, W] -> [N, classes]."""

    def __init__(self, norm: nn.Module, fc: Linear, dropout: float, *, norm_first: bool) -> None:
        super().__init__()
        self.norm = norm
        self.dropout = nn.Dropout(dropout)
        self.fc = fc
        self.norm_first = norm_first

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = pooled(self.norm(x)) if self.norm_first else self.norm(pooled(x))
        return self.fc(self.dropout(x.flatten(1)))


class LinearHead(Head):
    """Average pooling and one linear layer, with a norm between (ConvNeXt) or before both (PoolFormer)."""

    kind: Literal["linear_head"] = "linear_head"
    norm: Norm = LayerNorm()
    norm_at: Literal["before_pool", "after_pool"] = "after_pool"
    """Where the norm stands: on the last feature map, or on its average."""

    def build(self, width: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, classes]; `dropout` acts before the linear layer."""
        return PooledLinear(
            self.norm.build(width), Linear(width, classes), dropout, norm_first=self.norm_at == "before_pool"
        )

    def cost(self, width: int, classes: int, size: Size) -> Cost:
        """Return the cost on a map of any size."""
        return linear(width, classes) + self.norm.cost(width)


class PooledMlp(nn.Module):
    """Average pooling, then two linear layers with an activation and norms. [N, C, H, W] -> [N, classes]."""

    def __init__(
        self, norm: nn.Module, fc1: Linear, act: nn.Module, inner_norm: nn.Module, fc2: Linear, dropout: float
    ) -> None:
        super().__init__()
        self.norm = norm
        self.fc1 = fc1
        self.act = act
        self.inner_norm = inner_norm
        self.dropout = nn.Dropout(dropout)
        self.fc2 = fc2

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.act(self.fc1(self.norm(pooled(x)).flatten(1)))
        return self.fc2(self.dropout(self.inner_norm(x[:, :, None, None]).flatten(1)))


class MlpHead(Head):
    """Average pooling and an MLP (ConvFormer and CAFormer, arXiv:2210.13452; InceptionNeXt, arXiv:2303.16900)."""

    kind: Literal["mlp_head"] = "mlp_head"
    ratio: Ratio = 4.0
    """Hidden width over width."""
    act: Activation = "squared_relu"
    norm: Norm = LayerNorm()
    """The norm after pooling."""
    inner_norm: Norm = LayerNorm()
    """The norm after the activation."""

    def build(self, width: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, classes]; `dropout` acts before the last linear layer."""
        hidden = share(width, self.ratio)
        return PooledMlp(
            self.norm.build(width),
            Linear(width, hidden),
            activation(self.act),
            self.inner_norm.build(hidden),
            Linear(hidden, classes),
            dropout,
        )

    def cost(self, width: int, classes: int, size: Size) -> Cost:
        """Return the cost on a map of any size."""
        hidden = share(width, self.ratio)
        norms = self.norm.cost(width) + self.inner_norm.cost(hidden) + Cost(activation_params(self.act))
        return linear(width, hidden) + linear(hidden, classes) + norms
