"""Operators: functions of tensors, without parameters, specs or input and output."""

from __future__ import annotations

from ops.depthwise_conv2d import depthwise_conv2d
from ops.selective_scan import selective_scan, selective_scan_step

__all__ = ["depthwise_conv2d", "selective_scan", "selective_scan_step"]
