"""The roots of the families, each with its tensor contract. A member is one class; see `space.spec.Family`.

Sizes are (height, width) in pixels; widths are channels. `cost` must equal what `space.counting.counted` finds on the
built module: a law of the test suite checks it for every member.
"""

from __future__ import annotations

from torch import nn

from space.cost import Cost, Size
from space.flop_rule import FlopRule
from space.spec import Family


class Norm(Family):
    """Normalises a feature map."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        raise NotImplementedError

    def cost(self, width: int) -> Cost:
        """Return its parameters; norms count no MACs."""
        raise NotImplementedError


class Stem(Family):
    """Turns an image into the first feature map."""

    def build(self, in_channels: int, width: int) -> nn.Module:
        """Return a module [N, in_channels, H, W] -> [N, width, h, w]."""
        raise NotImplementedError

    def out_size(self, size: Size) -> Size:
        """Return (h, w) for an image of (H, W)."""
        raise NotImplementedError

    def patches(self, size: Size) -> Size:
        """Return the rows and columns of the map for an image of (H, W), also where it lays them in one row."""
        return self.out_size(size)

    def in_a_row(self) -> bool:
        """Say whether the map is a column of class tokens and patches, which no downsampler halves."""
        return False

    def tokens(self) -> int:
        """Return how many class tokens stand before the patches of the map."""
        return 0

    def cost(self, in_channels: int, width: int, size: Size) -> Cost:
        """Return the cost on an image of `size`."""
        raise NotImplementedError


class Downsample(Family):
    """Leads from one stage to the next."""

    def build(self, in_width: int, width: int) -> nn.Module:
        """Return a module [N, in_width, H, W] -> [N, width, h, w]."""
        raise NotImplementedError

    def out_size(self, size: Size) -> Size:
        """Return (h, w) for a map of (H, W)."""
        raise NotImplementedError

    def cost(self, in_width: int, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size` (before downsampling)."""
        raise NotImplementedError


class TokenMixer(Family):
    """Moves information between positions; alone, or as the context of a gated mixer (`space.mixers.gated`)."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        raise NotImplementedError

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`. Raises SpaceError where the mixer cannot run at that size."""
        raise NotImplementedError

    def added_flops(self, width: int, size: Size) -> dict[FlopRule, int]:
        """Return what published counts add to the MACs of `cost`, by rule; most add nothing."""
        return {}

    def at_size(self, size: Size) -> TokenMixer:
        """Return the same mixer fitted to maps of `size`; most fit any size and return themselves."""
        return self

    def build_context(self, width: int, input_width: int) -> nn.Module:
        """Return the module as context of a gated mixer; a `space.layers.Guided` one also sees the mixer's input.

        `input_width` is the width of that input; most look at their own map only.
        """
        return self.build(width)

    def context_cost(self, width: int, input_width: int, size: Size) -> Cost:
        """Return the cost as context of a gated mixer on a map of `size`."""
        return self.cost(width, size)

    def merged(self) -> TokenMixer:
        """Return the mixer that computes the same with fewer layers once trained; most return themselves."""
        return self

    def absorbing(self) -> TokenMixer | None:
        """Return the mixer that also scales and shifts each channel it writes, or None where it has no place for it."""
        return None


class Gate(Family):
    """Joins a context with the map it was taken from, inside a gated mixer (`space.mixers.gated`)."""

    def widths(self, width: int) -> tuple[int, int]:
        """Return the channels that the mixer's input projection writes for the gate and for the context."""
        raise NotImplementedError

    def build(self, width: int) -> nn.Module:
        """Return a module (gate [N, G, H, W], source [N, K, H, W], context [N, K, H, W]) -> [N, width, H, W].

        G and K are `widths(width)`; the context was computed from the source.
        """
        raise NotImplementedError

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`, projections of the mixer not included."""
        raise NotImplementedError


class ChannelMixer(Family):
    """Moves information between channels."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        raise NotImplementedError

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        raise NotImplementedError

    def merged(self) -> ChannelMixer:
        """Return the mixer that computes the same with fewer layers once trained; most return themselves."""
        return self


class Head(Family):
    """Turns the last feature map into logits."""

    def build(self, width: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, classes]; `dropout` acts before the last linear layer."""
        raise NotImplementedError

    def cost(self, width: int, classes: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        raise NotImplementedError

    def tokens_read(self) -> int:
        """Return how many class tokens of the stem it needs; most average over all positions."""
        return 0

    def build_above(self, lower_width: int, width: int, classes: int, *, dropout: float = 0.0) -> nn.Module:
        """Return the module as head of a network; a `space.layers.TwoMaps` one also sees what led into the last stage.

        `lower_width` is the width of that map; most look at the last map only.
        """
        return self.build(width, classes, dropout=dropout)

    def cost_above(self, lower_width: int, width: int, classes: int, lower_size: Size, size: Size) -> Cost:
        """Return the cost as head of a network, on a last map of `size` and one of `lower_size` before it."""
        return self.cost(width, classes, size)
