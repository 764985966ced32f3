"""Operators: functions of tensors, without parameters, specs or input and output."""

from __future__ import annotations

from ops.depthwise_conv2d import depthwise_conv2d

__all__ = ["depthwise_conv2d"]
