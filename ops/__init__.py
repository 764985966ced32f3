"""Operators: functions of tensors, without parameters, specs or input and output."""

from __future__ import annotations

from ops.cross_scan import cross_merge, cross_scan
from ops.dcnv3 import dcnv3
from ops.dcnv4 import dcnv4
from ops.deform_conv2d import deform_conv2d
from ops.deformable_sampling import deformable_sampling
from ops.depthwise_conv2d import depthwise_conv2d
from ops.focal_context import focal_context, gated_levels
from ops.gated_product import gated_product
from ops.global_response_norm import global_response_norm
from ops.hippo import Nplr, hippo, nplr, s4d_spectrum
from ops.layer_norm2d import layer_norm2d
from ops.long_conv1d import long_conv1d
from ops.multi_scale_deform_attn import flash_deform_attn, multi_scale_deform_attn
from ops.s4 import s4_kernel, s4_step, s4_truncated, s4_untruncated
from ops.s4d import s4d_kernel, s4d_step
from ops.selective_scan import selective_scan, selective_scan_step
from ops.ssd import ssd, ssd_discrete, ssd_step

__all__ = [
    "Nplr",
    "cross_merge",
    "cross_scan",
    "dcnv3",
    "dcnv4",
    "deform_conv2d",
    "deformable_sampling",
    "depthwise_conv2d",
    "flash_deform_attn",
    "focal_context",
    "gated_levels",
    "gated_product",
    "global_response_norm",
    "hippo",
    "layer_norm2d",
    "long_conv1d",
    "multi_scale_deform_attn",
    "nplr",
    "s4_kernel",
    "s4_step",
    "s4_truncated",
    "s4_untruncated",
    "s4d_kernel",
    "s4d_spectrum",
    "s4d_step",
    "selective_scan",
    "selective_scan_step",
    "ssd",
    "ssd_discrete",
    "ssd_step",
]
