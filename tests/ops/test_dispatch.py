"""One rule for all operators: what is asked for, what the environment says, what fits."""

import pytest
import torch

from ops.dispatch import implementation
from ops.native import missing

HERE = "pytorch" if missing() else "native"


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("NAS_OPS", raising=False)


def _chosen(*tensors, asked=None):
    return implementation("op", asked, *tensors)


def test_single_precision_on_a_cpu_is_native_and_all_else_pytorch():
    x = torch.ones(2)
    assert _chosen(x, None) == HERE
    for other in (x.double(), x.bfloat16(), x.to("meta")):
        assert _chosen(other) == _chosen(x, other) == "pytorch"


def test_the_environment_overrides_and_the_caller_both(monkeypatch):
    x = torch.ones(2)
    for name in ("reference", "pytorch"):
        monkeypatch.setenv("NAS_OPS", name)
        assert _chosen(x) == name
        assert _chosen(x, asked="reference") == "reference"
    monkeypatch.setenv("NAS_OPS", "native")
    assert _chosen(x.double()) == "pytorch"
    monkeypatch.setenv("NAS_OPS", "fast")
    with pytest.raises(ValueError, match=r"^op: NAS_OPS 'fast', allowed: reference, pytorch, native$"):
        _chosen(x)
    with pytest.raises(ValueError, match=r"^op: impl 'cuda', allowed: reference, pytorch, native$"):
        _chosen(x, asked="cuda")


def test_what_cannot_be_had_is_refused():
    with pytest.raises(ValueError, match=r"^op: impl 'native' for torch.float64 on cpu, allowed: float32 on cpu$"):
        _chosen(torch.ones(2, dtype=torch.float64), asked="native")


def test_functional_transforms_take_pytorch():
    seen = []
    torch.func.vmap(lambda x: (seen.append(_chosen(x)), x)[1])(torch.ones(2))
    assert seen == ["pytorch"]
