"""One line for people: what a point is, in the words of the field."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from space.arch import Architecture, Block, Stage
from space.families import Gate, TokenMixer
from space.spec import Spec


def describe(arch: Architecture) -> str:
    """Return e.g. `96-192-384-768 x 3-3-9-3, metanext, depthwise_conv 7, mlp x4 gelu, layer_norm; patchify 4`."""
    stages = arch.canonical().stages
    widths, depths = ("-".join(str(getattr(s, f)) for s in stages) for f in ("width", "depth"))
    wirings = _runs([_each(s, lambda b: b.wiring) for s in stages])
    mixers = _runs([_each(s, lambda b: _words(b.token_mixer)) for s in stages])
    channel = _runs([_each(s, lambda b: _words(b.channel_mixer)) for s in stages])
    norms = _runs([_each(s, lambda b: b.norm.kind) for s in stages])
    return f"{widths} x {depths}, {wirings}, {mixers}, {channel}, {norms}; {_words(arch.stem)}"


def _each(stage: Stage, words: Callable[[Block], str]) -> str:
    return "+".join(dict.fromkeys(words(block) for block in stage.pattern))


def _runs(words: list[str]) -> str:
    """Write equal neighbours once: pool | pool | attention -> pool x2 | attention."""
    groups = [(word, len(list(same))) for word, same in groupby(words)]
    return (
        groups[0][0]
        if len(groups) == 1
        else " | ".join(word if n == 1 else f"{word} ({n} stages)" for word, n in groups)
    )


def _words(spec: Spec) -> str:
    """Kind and the plain numbers and words of a spec, ratios as x4."""
    parts: list[str] = [str(getattr(spec, "kind", type(spec).__name__))]
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, (TokenMixer, Gate)):
            parts.append(f"({_words(value)})")
        if name == "kind" or isinstance(value, (bool, Spec)):
            continue
        if isinstance(value, float) and value == 1.0 and name == "ratio":
            continue
        parts.append(f"x{value:g}" if name == "ratio" else f"{value:g}" if isinstance(value, float) else str(value))
    return " ".join(parts)
