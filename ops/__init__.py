"""Operators: functions of tensors, without parameters, specs or input and output."""

from __future__ import annotations

from ops.cross_scan import cross_merge, cross_scan
from ops.depthwise_conv2d import depthwise_conv2d
from ops.selective_scan import selective_scan, selective_scan_step

__all__ = ["cross_merge", "cross_scan", "depthwise_conv2d", "selective_scan", "selective_scan_step"]
