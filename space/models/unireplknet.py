"""UniRepLKNet (CVPR 2024, arXiv:2311.15599): 13 x 13 kernels beside dilated small ones, merged into one for use."""

from __future__ import annotations

from collections.abc import Sequence

from space.arch import Architecture, Block, Stage
from space.channel_mixers.grn_mlp import GrnMlp
from space.downsamples import NoDownsample, StridedConv
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.depthwise_conv import DepthwiseConv
from space.mixers.dilated_reparam import BRANCHES, DilatedReparam
from space.named import NamedModel, figures
from space.norms import BatchNorm
from space.stems import Convolutional

SOURCE = "AILab-CVC/UniRepLKNet@b5677d8 unireplknet.py"
KERNEL = 13

_THEIRS, _OURS = "stages.{i}.{j}", "stages.{i}.blocks.{j}"
_SHARED = {
    "downsample_layers.0.0.{leaf}": "stem.convs.0.{leaf}",
    "downsample_layers.0.1.{leaf}": "stem.norms.0.{leaf}",
    "downsample_layers.0.3.{leaf}": "stem.convs.1.{leaf}",
    "downsample_layers.0.4.{leaf}": "stem.norms.1.{leaf}",
    "downsample_layers.{i}.0.{leaf}": "stages.{i}.downsample.conv.{leaf}",
    "downsample_layers.{i}.1.{leaf}": "stages.{i}.downsample.norm.{leaf}",
    f"{_THEIRS}.se.{{name}}.{{leaf}}": f"{_OURS}.squeeze_excite.{{name}}.{{leaf}}",
    f"{_THEIRS}.pwconv1.1.{{leaf}}": f"{_OURS}.channel_mixer.fc1.{{leaf}}",
    f"{_THEIRS}.act.1.gamma": f"{_OURS}.channel_mixer.grn.weight",
    f"{_THEIRS}.pwconv2.0.{{leaf}}": f"{_OURS}.channel_mixer.fc2.{{leaf}}",
    "norm.{leaf}": "head.norm.{leaf}",
    "head.{leaf}": "head.fc.{leaf}",
}
_BRANCHES = {
    f"{_THEIRS}.dwconv.dil_{theirs}_k{side}_{step}.{{leaf}}": f"{_OURS}.token_mixer.small.{number}.{ours}.{{leaf}}"
    for number, (side, step) in enumerate(BRANCHES[KERNEL])
    for theirs, ours in (("conv", "conv"), ("bn", "norm"))
}
AUTHORS_KEYS = KeyFormat(
    "authors",
    _SHARED
    | _BRANCHES
    | {
        f"{_THEIRS}.gamma": f"{_OURS}.layer_scale.scale",
        f"{_THEIRS}.norm.{{leaf}}": f"{_OURS}.norm.{{leaf}}",
        f"{_THEIRS}.act.1.beta": f"{_OURS}.channel_mixer.grn.bias",
        f"{_THEIRS}.pwconv2.2.{{leaf}}": f"{_OURS}.channel_mixer.norm.{{leaf}}",
        f"{_THEIRS}.dwconv.lk_origin.weight": f"{_OURS}.token_mixer.large.conv.weight",
        f"{_THEIRS}.dwconv.origin_bn.{{leaf}}": f"{_OURS}.token_mixer.large.norm.{{leaf}}",
        f"{_THEIRS}.dwconv.weight": f"{_OURS}.token_mixer.conv.weight",
    },
)


def _merged_keys(kernels: Sequence[Sequence[int]]) -> KeyFormat:
    """Return the layout after merging, where only the published name tells a merged kernel from a small one."""
    rows: dict[str, str] = {}
    for stage, pattern in enumerate(kernels):
        for position, kernel in enumerate(pattern):
            block = f"{{{len(pattern)}j+{position}}}"
            theirs = "dwconv.lk_origin" if kernel == KERNEL else "dwconv"
            rows[f"stages.{stage}.{block}.{theirs}.{{leaf}}"] = (
                f"stages.{stage}.blocks.{block}.token_mixer.conv.{{leaf}}"
            )
    return KeyFormat("authors-merged", _SHARED | rows)


_1K, _22K = "IN-1K", "IN-22K"
PUBLISHED = figures(
    "AILab-CVC/UniRepLKNet@b5677d8 README.md",
    {
        "unireplknet_a": [(4.4, 0.6, 77.0, 224, _1K)],
        "unireplknet_f": [(6.2, 0.9, 78.6, 224, _1K)],
        "unireplknet_p": [(10.7, 1.6, 80.2, 224, _1K)],
        "unireplknet_n": [(18.3, 2.8, 81.6, 224, _1K)],
        "unireplknet_t": [(31, 4.9, 83.2, 224, _1K)],
        "unireplknet_s": [(56, 9.1, 83.9, 224, _1K), (56, 26.7, 86.4, 384, _22K)],
        "unireplknet_b": [(98, 47.2, 87.4, 384, _22K)],
        "unireplknet_l": [(218, 105.4, 87.9, 384, _22K)],
        "unireplknet_xl": [(386, 187, 88.0, 384, _22K)],
    },
)

Four = tuple[int, int, int, int]


def _block(kernel: int) -> Block:
    return Block(
        wiring="metanext",
        norm=BatchNorm(),
        token_mixer=DilatedReparam() if kernel == KERNEL else DepthwiseConv(kernel_size=kernel, bias=False),
        channel_mixer=GrnMlp(norm=BatchNorm(), bias=False),
        layer_scale=1e-6,
        squeeze_excite=1 / 4,
    )


def _unireplknet(
    size: str, depths: Four, width: int, third: Sequence[int], drop_path: float = 0.0, resolution: int = 224
) -> NamedModel:
    """Return the network of a size; `third` are the kernels of the third stage, taken in turn."""
    name, kernels = f"unireplknet_{size}", ((3,), (KERNEL,), third, (KERNEL,))
    stages = tuple(
        Stage(
            width=width * 2**index,
            depth=depth,
            pattern=tuple(_block(kernel) for kernel in pattern),
            downsample=StridedConv(kernel_size=3, norm_at="after") if index else NoDownsample(),
        )
        for index, (depth, pattern) in enumerate(zip(depths, kernels, strict=True))
    )
    arch = Architecture(stem=Convolutional(), stages=stages, head=LinearHead())
    return NamedModel(
        name, "UniRepLKNet", arch, SOURCE, (AUTHORS_KEYS, _merged_keys(kernels)), resolution, drop_path,
        published=PUBLISHED[name], published_form="merged",
    )  # fmt: skip


MODELS = (
    _unireplknet("a", (2, 2, 6, 2), 40, (13,)),
    _unireplknet("f", (2, 2, 6, 2), 48, (13,)),
    _unireplknet("p", (2, 2, 6, 2), 64, (13,), 0.1),
    _unireplknet("n", (2, 2, 8, 2), 80, (13,), 0.1),
    _unireplknet("t", (3, 3, 18, 3), 80, (13, 3), 0.2),
    _unireplknet("s", (3, 3, 27, 3), 96, (13, 3, 3), 0.4),
    _unireplknet("b", (3, 3, 27, 3), 128, (13, 3, 3), resolution=384),
    _unireplknet("l", (3, 3, 27, 3), 192, (13, 3, 3), resolution=384),
    _unireplknet("xl", (3, 3, 27, 3), 256, (13, 3, 3), resolution=384),
)
