"""Operators: functions of tensors, without parameters, specs or input and output."""

from __future__ import annotations

from ops.cross_scan import cross_merge, cross_scan
from ops.dcnv3 import dcnv3
from ops.dcnv4 import dcnv4
from ops.deform_conv2d import deform_conv2d
from ops.deformable_sampling import deformable_sampling
from ops.depthwise_conv2d import depthwise_conv2d
from ops.selective_scan import selective_scan, selective_scan_step
from ops.ssd import ssd, ssd_discrete, ssd_step

__all__ = [
    "cross_merge",
    "cross_scan",
    "dcnv3",
    "dcnv4",
    "deform_conv2d",
    "deformable_sampling",
    "depthwise_conv2d",
    "selective_scan",
    "selective_scan_step",
    "ssd",
    "ssd_discrete",
    "ssd_step",
]
