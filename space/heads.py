"""Heads: from the last feature map to logits, all members of the family."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, linear, matrix_product
from space.families import Head, Norm
from space.layers import Linear, Pointwise, Ratio, TwoMaps, share
from space.norms import BatchNorm, LayerNorm


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


class PooledConv(nn.Module):
    """A pointwise layer on the map, norm, activation, average pooling, a linear layer. [N, C, H, W] -> [N, classes]."""

    def __init__(self, conv: Pointwise, norm: nn.Module, act: nn.Module, dropout: float, fc: Linear) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.act = act
        self.dropout = nn.Dropout(dropout)
        self.fc = fc

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = pooled(self.act(self.norm(self.conv(x))))
        return self.fc(self.dropout(x.flatten(1)))


class ConvHead(Head):
    """A pointwise layer with norm and activation on the last map, then pooling (InternImage, arXiv:2211.05778)."""

    kind: Literal["conv_head"] = "conv_head"
    ratio: Ratio = 1.5
    """Width that is pooled over the last stage's."""
    act: Activation = "gelu"
    norm: Norm = BatchNorm()
    """The norm after the pointwise layer, which has no bias."""

    def build(self, width: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, classes]; `dropout` acts before the linear layer."""
        hidden = share(width, self.ratio)
        conv = Pointwise(width, hidden, bias=False, convolution=True)
        return PooledConv(conv, self.norm.build(hidden), activation(self.act), dropout, Linear(hidden, classes))

    def cost(self, width: int, classes: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        hidden = share(width, self.ratio)
        conv = linear(width, hidden, size[0] * size[1], bias=False)
        return conv + self.norm.cost(hidden) + Cost(activation_params(self.act)) + linear(hidden, classes)


class TokenLinears(nn.Module):
    """The first positions, a norm, a linear layer for each, their mean. [N, C, L, 1] -> [N, classes]."""

    def __init__(self, norm: nn.Module, fcs: list[Linear], dropout: float) -> None:
        super().__init__()
        self.norm = norm
        self.dropout = nn.Dropout(dropout)
        self.fcs = nn.ModuleList(fcs)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        tokens = self.dropout(self.norm(x[:, :, : len(self.fcs)])[..., 0])
        logits = [fc(tokens[:, :, index]) for index, fc in enumerate(self.fcs)]
        return torch.stack(logits).mean(dim=0)


class ClassTokenHead(Head):
    """A linear layer on the class token (ViT, arXiv:2010.11929); with more tokens the mean of theirs.

    So distilled DeiTs answer (arXiv:2012.12877, sec. 3, "joint classifiers"); here the mean is also what is trained.
    """

    kind: Literal["class_token_head"] = "class_token_head"
    class_tokens: Annotated[int, Field(ge=1, le=16)] = 1
    """Class tokens that are read; the stem writes at least so many."""
    norm: Norm = LayerNorm()
    """The norm before the linear layers."""

    def tokens_read(self) -> int:
        """Return the number of class tokens."""
        return self.class_tokens

    def build(self, width: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
        """Return a module [N, width, L, 1] -> [N, classes]; `dropout` acts before the linear layers."""
        return TokenLinears(self.norm.build(width), [Linear(width, classes) for _ in range(self.class_tokens)], dropout)

    def cost(self, width: int, classes: int, size: Size) -> Cost:
        """Return the cost on a map of any size."""
        return linear(width, classes) * self.class_tokens + self.norm.cost(width)


class AttentionPool(TwoMaps):
    """Join the last map, spread to twice its sides, with the one before; pool by attention of the mean to all.

    x [N, C, H, W], lower [N, K, h, w] -> [N, classes]. The spread map is brought to (h, w) by its nearest neighbours
    where that is another size; without a lower map it is taken alone.
    """

    spread = 2

    def __init__(self, spec: AttentionPoolHead, lower_width: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        inner, heads = spec.width, spec.heads
        self.heads = heads
        self.above = Pointwise(width, inner * self.spread**2, convolution=True)
        self.below = Pointwise(lower_width, inner, convolution=True) if lower_width else None
        self.query_norm, self.key_norm, self.value_norm = (spec.norm.build(inner) for _ in range(3))
        self.query, self.key, self.value = (Linear(inner, heads * spec.head_width) for _ in range(3))
        self.proj = Linear(heads * spec.head_width, spec.output_width)
        self.fc_norm = spec.norm.build(spec.output_width)
        self.dropout = nn.Dropout(dropout)
        self.fc = Linear(spec.output_width, classes)

    def forward(self, x: Tensor, lower: Tensor | None = None) -> Tensor:
        """Return logits."""
        x = F.pixel_shuffle(self.above(x), self.spread)
        if self.below is not None and lower is not None:
            under: Tensor = self.below(lower)
            if x.shape[2:] != under.shape[2:]:
                x = F.interpolate(x, under.shape[2:], mode="nearest")
            x = under + x
        query = self._heads(self.query(_tokens(self.query_norm(pooled(x)))))
        key = self._heads(self.key(_tokens(self.key_norm(x))))
        value = self._heads(self.value(_tokens(self.value_norm(x))))
        found = self.proj(F.scaled_dot_product_attention(query, key, value).flatten(1))
        return self.fc(self.dropout(self.fc_norm(found[:, :, None, None]).flatten(1)))

    def _heads(self, x: Tensor) -> Tensor:
        """[N, L, C] -> [N, heads, L, C / heads]."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


def _tokens(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, H * W, C]."""
    return x.flatten(2).transpose(1, 2)


class AttentionPoolHead(Head):
    """Attention pooling over the joined maps of the last two stages (InternImage-H and -G, arXiv:2211.05778)."""

    kind: Literal["attention_pool_head"] = "attention_pool_head"
    width: Annotated[int, Field(ge=1, le=8192)] = 1024
    """Channels of the joined map."""
    head_width: Annotated[int, Field(ge=1, le=1024)] = 64
    """Channels of an attention head; there are width // head_width, at least one."""
    output_width: Annotated[int, Field(ge=1, le=8192)] = 768
    """Channels that pooling leaves."""
    norm: Norm = LayerNorm()
    """The norm of queries, of keys, of values, and of what pooling leaves."""

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return max(1, self.width // self.head_width)

    def build(self, width: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, classes]; `dropout` acts before the last linear layer."""
        return self.build_above(0, width, classes, dropout=dropout)

    def cost(self, width: int, classes: int, size: Size) -> Cost:
        """Return the cost on a last map of `size` alone."""
        scale = AttentionPool.spread
        return self._cost(width, classes, size, (size[0] * scale, size[1] * scale))

    def build_above(self, lower_width: int, width: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
        """Return the module that joins the last map with the one that led into its stage."""
        return AttentionPool(self, lower_width, width, classes, dropout)

    def cost_above(self, lower_width: int, width: int, classes: int, lower_size: Size, size: Size) -> Cost:
        """Return the cost on a last map of `size` and one of `lower_size` before it."""
        below = linear(lower_width, self.width, lower_size[0] * lower_size[1])
        return below + self._cost(width, classes, size, lower_size)

    def _cost(self, width: int, classes: int, size: Size, joined: Size) -> Cost:
        positions, attended = joined[0] * joined[1], self.heads * self.head_width
        total = linear(width, self.width * AttentionPool.spread**2, size[0] * size[1])
        total += linear(self.width, attended) + linear(self.width, attended, positions) * 2
        total += matrix_product(1, self.head_width, positions, self.heads)
        total += matrix_product(1, positions, self.head_width, self.heads)
        total += linear(attended, self.output_width) + linear(self.output_width, classes)
        return total + self.norm.cost(self.width) * 3 + self.norm.cost(self.output_width)
