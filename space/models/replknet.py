"""RepLKNet (CVPR 2022, arXiv:2203.06717): kernels of up to 31 x 31, trained beside 5 x 5 ones and merged with them."""

from __future__ import annotations

from space.arch import Architecture, Block
from space.channel_mixers.mlp import Mlp
from space.downsamples import SeparableDownsample
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.projected import Projected
from space.mixers.reparam_large_kernel import ReparamLargeKernel
from space.named import NamedModel, figures, pyramid
from space.norms import BatchNorm
from space.stems import Separable

SOURCE = "DingXiaoH/RepLKNet-pytorch@b76808a replknet.py"

# the authors list mixers of positions and of channels in turn, two entries to each of our blocks
_MIXER, _CHANNELS = "stages.{i}.blocks.{2j}", "stages.{i}.blocks.{2j+1}"
_OURS = "stages.{i}.blocks.{j}"
_SHARED = {
    "stem.{n}.conv.weight": "stem.convs.{n}.weight",
    "stem.{n}.bn.{leaf}": "stem.norms.{n}.{leaf}",
    "transitions.{i}.0.conv.weight": "stages.{i+1}.downsample.pointwise.weight",
    "transitions.{i}.0.bn.{leaf}": "stages.{i+1}.downsample.norm1.{leaf}",
    "transitions.{i}.1.conv.weight": "stages.{i+1}.downsample.depthwise.weight",
    "transitions.{i}.1.bn.{leaf}": "stages.{i+1}.downsample.norm2.{leaf}",
    f"{_MIXER}.prelkb_bn.{{leaf}}": f"{_OURS}.norm1.{{leaf}}",
    f"{_MIXER}.pw1.conv.weight": f"{_OURS}.token_mixer.project_in.weight",
    f"{_MIXER}.pw1.bn.{{leaf}}": f"{_OURS}.token_mixer.norm1.{{leaf}}",
    f"{_MIXER}.pw2.conv.weight": f"{_OURS}.token_mixer.project_out.weight",
    f"{_MIXER}.pw2.bn.{{leaf}}": f"{_OURS}.token_mixer.norm2.{{leaf}}",
    f"{_CHANNELS}.preffn_bn.{{leaf}}": f"{_OURS}.norm2.{{leaf}}",
    f"{_CHANNELS}.pw1.conv.weight": f"{_OURS}.channel_mixer.fc1.weight",
    f"{_CHANNELS}.pw1.bn.{{leaf}}": f"{_OURS}.channel_mixer.norm1.{{leaf}}",
    f"{_CHANNELS}.pw2.conv.weight": f"{_OURS}.channel_mixer.fc2.weight",
    f"{_CHANNELS}.pw2.bn.{{leaf}}": f"{_OURS}.channel_mixer.norm2.{{leaf}}",
    "norm.{leaf}": "head.norm.{leaf}",
    "head.{leaf}": "head.fc.{leaf}",
}
AUTHORS_KEYS = KeyFormat(
    "authors",
    _SHARED
    | {
        f"{_MIXER}.large_kernel.lkb_origin.conv.weight": f"{_OURS}.token_mixer.inner.large.conv.weight",
        f"{_MIXER}.large_kernel.lkb_origin.bn.{{leaf}}": f"{_OURS}.token_mixer.inner.large.norm.{{leaf}}",
        f"{_MIXER}.large_kernel.small_conv.conv.weight": f"{_OURS}.token_mixer.inner.small.conv.weight",
        f"{_MIXER}.large_kernel.small_conv.bn.{{leaf}}": f"{_OURS}.token_mixer.inner.small.norm.{{leaf}}",
    },
)
MERGED_KEYS = KeyFormat(
    "authors-merged",
    _SHARED | {f"{_MIXER}.large_kernel.lkb_reparam.{{leaf}}": f"{_OURS}.token_mixer.inner.conv.{{leaf}}"},
)

_1K, _22K, _MEGDATA = "IN-1K", "IN-22K", "MegData-73M"
PUBLISHED = figures(
    "DingXiaoH/RepLKNet-pytorch@b76808a README.md",
    {
        "replknet_31b": [
            (79, 15.3, 83.5, 224, _1K),
            (79, 15.3, 85.2, 224, _22K),
            (79, 45.1, 84.8, 384, _1K),
            (79, 45.1, 86.0, 384, _22K),
        ],
        "replknet_31l": [(172, 96.0, 86.6, 384, _22K)],
        "replknet_xl": [(335, 128.7, 87.8, 320, _MEGDATA)],
    },
)

Four = tuple[int, int, int, int]


def _replknet(name: str, widths: Four, kernels: Four, resolution: int, drop_path: float = 0.0) -> NamedModel:
    xl = name == "replknet_xl"
    blocks = [
        Block(
            norm=BatchNorm(),
            token_mixer=Projected(
                inner=ReparamLargeKernel(kernel_size=kernel, small_kernel=0 if xl else 5), ratio=1.5 if xl else 1.0
            ),
            channel_mixer=Mlp(norm=BatchNorm(), bias=False),
        )
        for kernel in kernels
    ]
    arch = Architecture(
        stem=Separable(),
        stages=pyramid(widths, (2, 2, 18, 2), blocks, SeparableDownsample()),
        head=LinearHead(norm=BatchNorm(), norm_at="before_pool"),
        init="fan_in",
    )
    return NamedModel(
        name, "RepLKNet", arch, SOURCE, (AUTHORS_KEYS, MERGED_KEYS), resolution, drop_path,
        published=PUBLISHED[name], published_form="merged",
    )  # fmt: skip


MODELS = (
    _replknet("replknet_31b", (128, 256, 512, 1024), (31, 29, 27, 13), 224, 0.5),
    _replknet("replknet_31l", (192, 384, 768, 1536), (31, 29, 27, 13), 384),
    _replknet("replknet_xl", (256, 512, 1024, 2048), (27, 27, 27, 13), 320),
)
