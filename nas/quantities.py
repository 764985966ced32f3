"""Numbers as a person reads them: 4.47G, 93.1 %, 12.3 ms, 3 min 20 s.

Source: prefixes are decimal (k = 1e3, M = 1e6, G = 1e9), as parameter counts and MACs are published.
"""

from __future__ import annotations

import math

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float) -> str:
    """Write a count with three digits and a decimal prefix: 28589128 -> '28.6M'."""
    if not math.isfinite(value):
        return str(value)
    for scale, prefix in _PREFIXES:
        scaled = value / scale
        if abs(scaled) >= 0.9995:
            return f"{scaled:#.3g}".rstrip(".") + prefix
    return f"{value:.3g}"


def measured(value: float | None, unit: str) -> str:
    """Write a measured value with its unit; a missing one is '-'.

    Units:  'ratio' is shown in percent, 'count' with a prefix, 'ms' and the rest as they are.
    """
    if value is None:
        return "-"
    if unit == "ratio":
        return f"{100 * value:.2f} %"
    if unit == "count":
        return short(value)
    return f"{value:.4g} {unit}".rstrip()


def duration(seconds: float) -> str:
    """Write a time span: '0.4 s', '12 s', '3 min 20 s', '2 h 05 min', '3 d 04 h'."""
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"
