"""VMamba (NeurIPS 2024, arXiv:2401.10166): its first networks ("vanilla") and those of the paper's final version.

Names of the latter say the width that is scanned over the width (s) and the blocks of the third stage (l).
"""

from __future__ import annotations

from torch import Tensor

from space.arch import Architecture, Block
from space.channel_mixers.mlp import Mlp
from space.channel_mixers.none import NoChannelMixer
from space.downsamples import PatchMerging, StridedConv
from space.families import Stem
from space.heads import LinearHead
from space.keys import KeyFormat
from space.mixers.selective_scan import ROUTES, SelectiveScan
from space.named import NamedModel, figures, pyramid
from space.norms import LayerNorm
from space.stems import Convolutional, Patchify

SOURCE = "MzeroMiko/VMamba@2ed52ea classification/models/vmamba.py"
NORM = LayerNorm(eps=1e-5)

_BLOCK, _OURS = "layers.{i}.blocks.{j}", "stages.{i}.blocks.{j}"
_OLD = "layers.{i}.blocks.{j}.self_attention"
_MIXER = {  # published name of a parameter or layer within the mixer -> ours
    "x_proj_weight": "ssm.x_proj",
    "dt_projs_weight": "ssm.dt_proj",
    "dt_projs_bias": "ssm.dt_bias",
    "A_logs": "ssm.A_log",
    "Ds": "ssm.D",
    "x_proj.weight": "ssm.x_proj",
    "dt_projs.weight": "ssm.dt_proj",
    "in_proj.weight": "in_proj.weight",
    "conv2d.{leaf}": "conv.{leaf}",
    "out_norm.{leaf}": "output.{leaf}",
    "out_proj.weight": "out_proj.weight",
}
_BLOCKS = {
    **{f"{_BLOCK}.op.{theirs}": f"{_OURS}.token_mixer.{ours}" for theirs, ours in _MIXER.items()},
    f"{_BLOCK}.norm.{{leaf}}": f"{_OURS}.norm1.{{leaf}}",
    f"{_BLOCK}.norm2.{{leaf}}": f"{_OURS}.norm2.{{leaf}}",
    f"{_BLOCK}.mlp.{{name}}.{{leaf}}": f"{_OURS}.channel_mixer.{{name}}.{{leaf}}",
    # names of earlier checkpoints, which the published code still reads
    f"{_BLOCK}.ln_1.{{leaf}}": f"{_OURS}.norm1.{{leaf}}",
    **{f"{_OLD}.{theirs}": f"{_OURS}.token_mixer.{ours}" for theirs, ours in _MIXER.items()},
}
_HEAD = {
    "classifier.norm.{leaf}": "head.norm.{leaf}",
    "classifier.head.{leaf}": "head.fc.{leaf}",
    "norm.{leaf}": "head.norm.{leaf}",
    "head.{leaf}": "head.fc.{leaf}",
}
_MERGED = ("reduction", "reduction"), ("norm", "norm")
_STRIDED = ("1", "conv"), ("3", "norm")


def _downsamples(parts: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Their downsampler closes a stage, ours opens the next."""
    return {
        f"layers.{stage}.downsample.{theirs}.{{leaf}}": f"stages.{stage + 1}.downsample.{ours}.{{leaf}}"
        for stage in range(3)
        for theirs, ours in parts
    }


def _stacked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring the projections of the routes, which the single-file vmamba.py keeps as rows of one matrix, to a stack."""
    rows = (".x_proj.weight", ".dt_projs.weight")

    def read(tensor: Tensor) -> Tensor:
        groups, rest = divmod(tensor.shape[0], ROUTES) if tensor.ndim > 1 else (0, 0)
        return tensor.reshape(ROUTES, groups, -1) if groups > 1 and not rest else tensor

    return {key: read(tensor) if key.endswith(rows) else tensor for key, tensor in state.items()}


VANILLA_KEYS = KeyFormat(
    "authors",
    {
        "patch_embed.0.{leaf}": "stem.conv.{leaf}",
        "patch_embed.2.{leaf}": "stem.norm.{leaf}",
        **_BLOCKS,
        **_downsamples(_MERGED),
        **_HEAD,
        "patch_embed.proj.{leaf}": "stem.conv.{leaf}",
        "patch_embed.norm.{leaf}": "stem.norm.{leaf}",
    },
    _stacked,
)
KEYS = KeyFormat(
    "authors",
    {
        "patch_embed.0.{leaf}": "stem.convs.0.{leaf}",
        "patch_embed.2.{leaf}": "stem.norms.0.{leaf}",
        "patch_embed.5.{leaf}": "stem.convs.1.{leaf}",
        "patch_embed.7.{leaf}": "stem.norms.1.{leaf}",
        **_BLOCKS,
        **_downsamples(_STRIDED),
        **_HEAD,
    },
    _stacked,
)

_1K = "IN-1K"
PUBLISHED = figures(
    "MzeroMiko/VMamba@2ed52ea assets/performance.md",
    {
        "vanilla_vmamba_tiny": [(23, 5.6, 82.2, 224, _1K)],
        "vanilla_vmamba_small": [(44, 11.2, 83.5, 224, _1K)],
        "vanilla_vmamba_base": [(76, 18.0, 83.7, 224, _1K)],
        "vmamba_tiny_s2l5": [(31, 4.9, 82.5, 224, _1K)],
        "vmamba_small_s2l15": [(50, 8.7, 83.6, 224, _1K)],
        "vmamba_base_s2l15": [(89, 15.4, 83.9, 224, _1K)],
        "vmamba_tiny_s1l8": [(30, 4.9, 82.6, 224, _1K)],
        "vmamba_small_s1l20": [(49, 8.6, 83.3, 224, _1K)],
        "vmamba_base_s1l20": [(87, 15.2, 83.8, 224, _1K)],
    },
)


def _arch(stem: Stem, downsample: PatchMerging | StridedConv, block: Block, width: int, third: int) -> Architecture:
    stages = pyramid([width << stage for stage in range(4)], (2, 2, third, 2), [block] * 4, downsample)
    # the authors leave convolutions as PyTorch starts them
    return Architecture(
        stem=stem, stages=stages, head=LinearHead(norm=NORM, norm_at="before_pool"), init="fan_in_convs"
    )


def _vanilla(size: str, width: int, third: int, drop_path: float) -> NamedModel:
    name = f"vanilla_vmamba_{size}"
    mixer = SelectiveScan(states=16, gate="silu", conv_bias=True)
    block = Block(norm=NORM, token_mixer=mixer, channel_mixer=NoChannelMixer())
    arch = _arch(Patchify(norm=NORM), PatchMerging(norm=NORM), block, width, third)
    keys = (VANILLA_KEYS,)
    return NamedModel(name, "VMamba", arch, SOURCE, keys, drop_path=drop_path, published=PUBLISHED[name])


def _vmamba(size: str, width: int, ratio: int, third: int, drop_path: float) -> NamedModel:
    name = f"vmamba_{size}_s{ratio}l{third}"
    block = Block(norm=NORM, token_mixer=SelectiveScan(ratio=ratio), channel_mixer=Mlp())
    downsample = StridedConv(kernel_size=3, norm=NORM, norm_at="after")
    arch = _arch(Convolutional(norm=NORM), downsample, block, width, third)
    return NamedModel(name, "VMamba", arch, SOURCE, (KEYS,), drop_path=drop_path, published=PUBLISHED[name])


MODELS = (
    _vanilla("tiny", 96, 9, 0.2),
    _vanilla("small", 96, 27, 0.3),
    _vanilla("base", 128, 27, 0.6),  # its training file has 0.5, with 0.6 beside it as a comment
    _vmamba("tiny", 96, 2, 5, 0.2),
    _vmamba("small", 96, 2, 15, 0.3),
    _vmamba("base", 128, 2, 15, 0.6),
    _vmamba("tiny", 96, 1, 8, 0.2),
    _vmamba("small", 96, 1, 20, 0.3),
    _vmamba("base", 128, 1, 20, 0.5),
)
