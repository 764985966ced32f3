"""FocalNet (NeurIPS 2022, arXiv:2203.11926): contexts of growing reach, weighed level by level, modulate a query."""

from __future__ import annotations

from torch import Tensor

from space.arch import Architecture, Block, Stage
from space.downsamples import StridedConv
from space.families import Stem
from space.gates.linear import LinearGate
from space.heads import LinearHead
from space.initial import Init
from space.keys import KeyFormat
from space.mixers.focal import Focal
from space.mixers.gated import Gated
from space.named import NamedModel, figures, pyramid
from space.norms import LayerNorm, NoNorm
from space.stems import OverlappingPatch, Patchify

SOURCE = "microsoft/FocalNet@e8514bd classification/focalnet.py"
TIMM = "timm 1.0.31 models/focalnet.py"

_QUERY_AND_CONTEXT, _LEVELS = " (query, context)", " (levels)"


def _split(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split what is one projection there: the rows after query and context weigh the levels."""
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        layer = key.rpartition(".")[0]
        weight = state.get(f"{layer}.weight")
        if layer.endswith(".modulation.f") and weight is not None and weight.ndim > 1:
            rows = 2 * weight.shape[1]
            # the few rows are copied, so that no two parameters share memory
            out[key + _QUERY_AND_CONTEXT], out[key + _LEVELS] = tensor[:rows], tensor[rows:].clone()
        else:
            out[key] = tensor
    return out


_MODULATION, _MIXER = "layers.{i}.blocks.{j}.modulation", "stages.{i}.blocks.{j}.token_mixer"
_SHARED = {
    f"{_MODULATION}.f.{{leaf}}{_QUERY_AND_CONTEXT}": f"{_MIXER}.project_in.{{leaf}}",
    f"{_MODULATION}.f.{{leaf}}{_LEVELS}": f"{_MIXER}.context.weigh.{{leaf}}",
    f"{_MODULATION}.focal_layers.{{k}}.0.{{leaf}}": f"{_MIXER}.context.levels.{{k}}.{{leaf}}",
    f"{_MODULATION}.h.{{leaf}}": f"{_MIXER}.mix.{{leaf}}",
    f"{_MODULATION}.proj.{{leaf}}": f"{_MIXER}.project_out.{{leaf}}",
    "layers.{i}.blocks.{j}.mlp.{name}.{leaf}": "stages.{i}.blocks.{j}.channel_mixer.{name}.{leaf}",
    "norm.{leaf}": "head.norm.{leaf}",
}


AUTHORS_KEYS = KeyFormat(
    "authors",
    {
        "patch_embed.proj.{leaf}": "stem.conv.{leaf}",
        "patch_embed.norm.{leaf}": "stem.norm.{leaf}",
        # what leads into a stage closes the one before there
        "layers.{i}.downsample.proj.{leaf}": "stages.{i+1}.downsample.conv.{leaf}",
        "layers.{i}.downsample.norm.{leaf}": "stages.{i+1}.downsample.norm.{leaf}",
        "layers.{i}.blocks.{j}.gamma_{k}": "stages.{i}.blocks.{j}.layer_scale{k}.scale",
        f"{_MODULATION}.ln.{{leaf}}": f"{_MIXER}.norm.{{leaf}}",
        **_SHARED,
        "layers.{i}.blocks.{j}.{name}.{leaf}": "stages.{i}.blocks.{j}.{name}.{leaf}",
        "head.{leaf}": "head.fc.{leaf}",
    },
    _split,
)


def _timm_keys(*, post_norm: bool) -> KeyFormat:
    norm = "norm{k}_post" if post_norm else "norm{k}"
    return KeyFormat(
        "timm",
        {
            "stem.proj.{leaf}": "stem.conv.{leaf}",
            "stem.norm.{leaf}": "stem.norm.{leaf}",
            "layers.{i}.downsample.proj.{leaf}": "stages.{i}.downsample.conv.{leaf}",
            "layers.{i}.downsample.norm.{leaf}": "stages.{i}.downsample.norm.{leaf}",
            "layers.{i}.blocks.{j}.ls{k}.gamma": "stages.{i}.blocks.{j}.layer_scale{k}.scale",
            f"layers.{{i}}.blocks.{{j}}.{norm}.{{leaf}}": "stages.{i}.blocks.{j}.norm{k}.{leaf}",
            f"{_MODULATION}.norm.{{leaf}}": f"{_MIXER}.norm.{{leaf}}",
            **_SHARED,
            "head.fc.{leaf}": "head.fc.{leaf}",
        },
        _split,
    )


_1K, _22K = "IN-1K", "IN-22K"
PUBLISHED = figures(
    "microsoft/FocalNet@e8514bd README.md",
    {
        "focalnet_tiny_srf": [(28.4, 4.4, 82.1, 224, _1K)],
        "focalnet_tiny_lrf": [(28.6, 4.5, 82.3, 224, _1K)],
        "focalnet_small_srf": [(49.9, 8.6, 83.4, 224, _1K)],
        "focalnet_small_lrf": [(50.3, 8.7, 83.5, 224, _1K)],
        "focalnet_base_srf": [(88.1, 15.3, 83.7, 224, _1K)],
        "focalnet_base_lrf": [(88.7, 15.4, 83.9, 224, _1K)],
        "focalnet_tiny_iso": [(5.9, 1.1, 74.1, 224, _1K)],
        "focalnet_small_iso": [(22.4, 4.3, 80.9, 224, _1K)],
        "focalnet_base_iso": [(87.2, 16.9, 82.4, 224, _1K)],
        # pre-trained only; the input size stands in the name of the weights' file
        "focalnet_large_fl3": [(207, None, None, 384, _22K)],
        "focalnet_large_fl4": [(207, None, None, 384, _22K)],
        "focalnet_xlarge_fl3": [(366, None, None, 384, _22K)],
        "focalnet_xlarge_fl4": [(366, None, None, 384, _22K)],
        "focalnet_huge_fl3": [(687, None, None, 224, _22K)],
        "focalnet_huge_fl4": [(689, None, None, 224, _22K)],
    },
)

NORM = LayerNorm(eps=1e-5)
SIZES = {  # depths, width of the first stage, drop path
    "tiny": ((2, 2, 6, 2), 96, 0.2),
    "small": ((2, 2, 18, 2), 96, 0.3),
    "base": ((2, 2, 18, 2), 128, 0.5),
    "large": ((2, 2, 18, 2), 192, 0.5),
    "xlarge": ((2, 2, 18, 2), 256, 0.5),
    "huge": ((2, 2, 18, 2), 352, 0.5),
}


def _block(focal: Focal, *, post_norm: bool = False, inner_norm: bool = False) -> Block:
    """Return a block; those whose norms come after have layer scales too."""
    mixer = Gated(context=focal, gate=LinearGate(), mix_context=True, norm=NORM if inner_norm else NoNorm())
    if post_norm:
        return Block(norm=NORM, norm_at="after", token_mixer=mixer, layer_scale=1e-4)
    return Block(norm=NORM, token_mixer=mixer)


def _model(
    name: str, stem: Stem, stages: tuple[Stage, ...], drop_path: float, init: Init = "fan_in_convs"
) -> NamedModel:
    head = LinearHead(norm=NORM, norm_at="before_pool")
    arch = Architecture(stem=stem, stages=stages, head=head, init=init)
    keys = (AUTHORS_KEYS, _timm_keys(post_norm=stages[0].pattern[0].norm_at == "after"))
    source, inputs = (TIMM, (384,)) if name.endswith("_timm") else (f"{SOURCE} configs/{name}.yaml", ())
    published = PUBLISHED.get(name, ())
    return NamedModel(name, "FocalNet", arch, source, keys, drop_path=drop_path, published=published, inputs=inputs)


def _patches(size: str, form: str, levels: int) -> NamedModel:
    depths, width, drop_path = SIZES[size]
    downsample = StridedConv(norm=NORM, norm_at="after")
    stages = pyramid([width << i for i in range(4)], depths, [_block(Focal(levels=levels))] * 4, downsample)
    return _model(f"focalnet_{size}_{form}", Patchify(norm=NORM), stages, drop_path)


def _isotropic(size: str, width: int) -> NamedModel:
    # in the authors' code the constructor of base asks for norms after and layer scales, its configuration does not
    block = _block(Focal(levels=3), post_norm=size == "base")
    stage = Stage(width=width, depth=12, pattern=(block,))
    return _model(f"focalnet_{size}_iso", Patchify(patch=16, norm=NORM), (stage,), 0.2)


def _overlapping(size: str, focal: Focal, suffix: str = "", init: Init = "fan_in_convs") -> NamedModel:
    depths, width, drop_path = SIZES[size]
    block = _block(focal, post_norm=True, inner_norm=size == "huge")
    downsample = StridedConv(kernel_size=3, norm=NORM, norm_at="after")
    stages = pyramid([width << i for i in range(4)], depths, [block] * 4, downsample)
    name = f"focalnet_{size}_fl{focal.levels}{suffix}"
    return _model(name, OverlappingPatch(norm=NORM), stages, drop_path, init)


MODELS = (
    *(_patches(size, form, levels) for size in ("tiny", "small", "base") for form, levels in (("srf", 2), ("lrf", 3))),
    _isotropic("tiny", 192),
    _isotropic("small", 384),
    _isotropic("base", 768),
    _overlapping("large", Focal(levels=3, window=5)),
    _overlapping("large", Focal(levels=4, normalise=True)),
    _overlapping("xlarge", Focal(levels=3, window=5)),
    _overlapping("xlarge", Focal(levels=4)),
    _overlapping("huge", Focal(levels=3)),
    _overlapping("huge", Focal(levels=4)),
    # timm's function is another: it does not divide by the number of levels; its convolutions start normal as well
    _overlapping("large", Focal(levels=4), "_timm", "normal"),
)
