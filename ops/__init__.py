"""Operators: functions of tensors, without parameters, specs or input and output."""

from __future__ import annotations

__all__: list[str] = []
