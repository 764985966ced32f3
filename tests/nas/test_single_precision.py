"""The operators' fast paths in single precision compute what published networks do in double."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas.golden import images, published_state, read_record, relative_error
from ops.native import missing
from space.build import on_meta
from space.named import load_published, named

RECORDS = Path(__file__).parents[1] / "golden" / "records"
TAKEN = {
    "convnextv2_atto": {"depthwise_conv2d"},
    "unireplknet_a": {"depthwise_conv2d"},
    "internimage_huge_mini": {"deformable_sampling"},
    "vmamba_tiny_s1l8": {"selective_scan"},
}
"""Native operators that a network must take; the others have too few taps or none."""


class _Taken(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "nas_ops":
            self.names.add(func._opname)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("way", ["native", "pytorch", "reference"])
@pytest.mark.parametrize("name", TAKEN)
def test_published_networks_in_single_precision(name, way, monkeypatch):
    if way == "native" and missing():
        pytest.skip("no compiler (tests/ops/test_native.py asks for one)")
    monkeypatch.setenv("NAS_OPS", way)
    record = read_record(RECORDS / f"{name}.json.gz")
    network = on_meta(named(name).arch)
    load_published(network, name, published_state(record))
    network.float().eval().to(memory_format=torch.channels_last)
    # gradients are asked for, as in training: where there are none, few taps go by PyTorch
    with _Taken() as taken:
        logits = network(images(record.input_size, 1).float().contiguous(memory_format=torch.channels_last))
    assert relative_error(logits.detach(), record.logits[:1]) < 1e-4
    assert taken.names >= TAKEN[name] if way == "native" else not taken.names
