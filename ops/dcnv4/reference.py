"""The law: DCNv4 is DCNv3 after its one tensor is split."""

from __future__ import annotations

from torch import Tensor

from ops.dcnv3.reference import reference as dcnv3_reference


def reference(
    value: Tensor,
    offset_mask: Tensor,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    offset_scale: float,
    remove_center: bool,
) -> Tensor:
    """Sample and sum. See the public function; here every pair is rows, columns."""
    offset, mask = split(offset_mask, groups, kernel[0] * kernel[1] - remove_center)
    return dcnv3_reference(
        value, offset.flatten(3), mask.flatten(3), kernel=kernel, stride=stride, padding=padding, dilation=dilation,
        groups=groups, offset_scale=offset_scale, remove_center=remove_center,
    )  # fmt: skip


def split(offset_mask: Tensor, groups: int, taps: int) -> tuple[Tensor, Tensor]:
    """Return offsets [N, Ho, Wo, G, P, 2] and weights [N, Ho, Wo, G, P] of the packed tensor."""
    offset, mask = offset_mask[..., : 3 * groups * taps].unflatten(-1, (groups, -1)).split((2 * taps, taps), -1)
    return offset.unflatten(-1, (taps, 2)), mask
