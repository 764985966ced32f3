"""One line for people: what a point is, in the words of the field.

The usual is left unsaid: fields at their default but for kernel sizes, ratios and activations, plain strided
convolutions between the stages, a linear head. Points that differ have different words, except in what `LEFT_OUT`
names; numbers are told to six digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from space.arch import Architecture, Block, Stage
from space.downsamples import StridedConv
from space.families import Gate, TokenMixer
from space.heads import LinearHead
from space.spec import Spec

LEFT_OUT = frozenset({"in_channels", "classes", "eps"})
"""Fields that words leave out: the two that the data decides, and what keeps a norm from dividing by 0."""
ALWAYS = frozenset({"kernel_size", "patch", "ratio", "act"})
"""Fields that are told at their default too, without their names."""
SIDES = {"before": "", "after": " after", "both": " before and after"}


def describe(arch: Architecture) -> str:
    """Return e.g. `96-192-384-768 x 3-3-9-3, metanext, depthwise_conv 7, mlp x4 gelu, layer_norm; patchify 4`."""
    stages = arch.canonical().stages
    widths, depths = ("-".join(str(getattr(s, f)) for s in stages) for f in ("width", "depth"))
    told: dict[str, Callable[[Block], str]] = {
        "wiring": lambda b: b.wiring,
        "token_mixer": lambda b: _words(b.token_mixer),
        "channel_mixer": lambda b: _words(b.channel_mixer),
        "norm": lambda b: _words(b.norm) + SIDES[b.norm_at],
    }
    parts = [
        f"{widths} x {depths}",
        *(_runs([_each(s, words) for s in stages], " | ", "stages") for words in told.values()),
    ]
    for name in Block.model_fields:
        if name not in told and name != "norm_at":
            parts += _further(Block, name, [_each(s, lambda b, n=name: _text(getattr(b, n))) for s in stages])
    parts += _further(Stage, "norm", [_text(s.norm) for s in stages], "stage_norm")
    ends = [_words(arch.stem)]
    between = [_words(stage.downsample) for stage in stages[1:]]
    if any(words != _words(StridedConv()) for words in between):
        ends.append(f"down {_runs(between, ' | ', 'stages')}")
    if (head := _words(arch.head)) != _words(LinearHead()):
        ends.append(f"head {head}")
    return f"{', '.join(parts)}; {', '.join([*ends, *_further(Architecture, 'init', [_text(arch.init)])])}"


def _each(stage: Stage, words: Callable[[Block], str]) -> str:
    return _runs([words(block) for block in stage.pattern], "+", "blocks")


def _runs(words: Sequence[str], between: str, unit: str) -> str:
    """Write equal neighbours once: pool, pool, attention -> pool (2 stages) | attention; all equal -> pool."""
    groups = [(word, len(list(same))) for word, same in groupby(words)]
    if len(groups) == 1:
        return groups[0][0]
    return between.join(word if count == 1 else f"{word} ({count} {unit})" for word, count in groups)


def _further(owner: type[Spec], name: str, texts: Sequence[str], label: str = "") -> list[str]:
    """Return what a field is, stage by stage, unless it has its default everywhere."""
    if set(texts) == {_text(owner.model_fields[name].default)}:
        return []
    runs = _runs(texts, " | ", "stages")
    return [label or name] if runs == "yes" else [f"{label or name} {runs}"]


def _words(spec: Spec) -> str:
    """Return the kind of a spec, what it holds, ratios as x4 and other bare values, then what is not as usual."""
    bare: list[str] = [str(getattr(spec, "kind", type(spec).__name__))]
    named: list[str] = []
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if name == "kind" or name in LEFT_OUT:
            continue
        text, usual = _text(value), "" if field.is_required() else _text(field.default)
        if isinstance(value, (TokenMixer, Gate)):
            bare.append(f"({_words(value)})")
        elif name == "ratio":
            bare += [f"x{text}"] if value != 1 else []
        elif name in ALWAYS and not text == usual == "identity":
            bare.append(text)
        elif text != usual:
            named.append((name if value else f"no {name}") if isinstance(value, bool) else f"{name} {text}")
    return " ".join(bare + named)


def _text(value: Any) -> str:
    """Return a value in words, several of a spec in parentheses."""
    if isinstance(value, Spec):
        words = _words(value)
        return f"({words})" if " " in words else words
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
