"""One rule for all operators: what is asked for, what the environment says, what fits."""

import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ops import dispatch
from ops.dispatch import implementation
from ops.native import missing

HERE = "pytorch" if missing() else "native"


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("NAS_OPS", raising=False)


def _chosen(*tensors, asked=None, kernel=False):
    return implementation("op", asked, *tensors, kernel=kernel)


@pytest.fixture(params=["cuda", "xpu"])
def on_gpu(request):
    """Make a tensor that is said to be on a GPU."""
    with FakeTensorMode():
        yield lambda *dtypes: [torch.empty(2, dtype=dtype, device=request.param) for dtype in dtypes]


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
    with pytest.raises(ValueError, match=r"^op: NAS_OPS 'fast', allowed: reference, pytorch, native, triton$"):
        _chosen(x)
    with pytest.raises(ValueError, match=r"^op: impl 'cuda', allowed: reference, pytorch, native, triton$"):
        _chosen(x, asked="cuda")


def test_what_cannot_be_had_is_refused():
    with pytest.raises(ValueError, match=r"^op: impl 'native' for torch.float64 on cpu, allowed: float32 on cpu$"):
        _chosen(torch.ones(2, dtype=torch.float64), asked="native")


def test_functional_transforms_take_pytorch():
    seen = []
    torch.func.vmap(lambda x: (seen.append(_chosen(x)), x)[1])(torch.ones(2))
    assert seen == ["pytorch"]


def test_a_gpu_takes_triton_where_the_operator_has_a_kernel(on_gpu):
    single, brain, half, double = on_gpu(torch.float32, torch.bfloat16, torch.float16, torch.float64)
    for tensors in ((single,), (brain, single), (half, None)):
        assert _chosen(*tensors, kernel=True) == _chosen(*tensors, kernel=True, asked="triton") == "triton"
        assert _chosen(*tensors) == "pytorch"
    assert _chosen(double, kernel=True) == _chosen(single, double, kernel=True) == "pytorch"
    assert _chosen(torch.empty(2), kernel=True) == HERE


def test_the_environment_chooses_on_a_gpu_too(on_gpu, monkeypatch):
    (x,) = on_gpu(torch.float32)
    for name in ("reference", "pytorch"):
        monkeypatch.setenv("NAS_OPS", name)
        assert _chosen(x, kernel=True) == name
    monkeypatch.setenv("NAS_OPS", "native")
    assert _chosen(x, kernel=True) == "pytorch"
    monkeypatch.setenv("NAS_OPS", "triton")
    assert _chosen(x, kernel=True) == "triton"
    assert _chosen(x) == _chosen(torch.empty(2)) == "pytorch"


def test_triton_is_refused_where_it_cannot_be_had(on_gpu, monkeypatch):
    single, double = on_gpu(torch.float32, torch.float64)
    device = single.device
    allowed = "allowed: float32, bfloat16, float16 on cuda or xpu"
    with pytest.raises(ValueError, match=rf"^op: impl 'triton' for torch.float64 on {device}, {allowed}$"):
        _chosen(double, asked="triton", kernel=True)
    with pytest.raises(ValueError, match=r"^op: impl 'triton' for \(2,\), allowed: what its kernel takes$"):
        _chosen(single, asked="triton")
    with pytest.raises(
        ValueError, match=rf"^op: impl 'native' for torch.float32 on {device}, allowed: float32 on cpu$"
    ):
        _chosen(single, asked="native", kernel=True)
    monkeypatch.setattr(dispatch, "no_triton", lambda: "No module named 'triton'")
    assert _chosen(single, kernel=True) == "pytorch"
    words = r"^op: no triton, No module named 'triton'; allowed: reference, pytorch$"
    with pytest.raises(ValueError, match=words):
        _chosen(single, asked="triton", kernel=True)
    monkeypatch.setenv("NAS_OPS", "triton")
    with pytest.raises(ValueError, match=words):
        _chosen(single, kernel=True)


def test_triton_on_a_cpu_is_refused():
    words = r"^op: impl 'triton' for torch.float32 on cpu, allowed: float32, bfloat16, float16 on cuda or xpu$"
    with pytest.raises(ValueError, match=words):
        _chosen(torch.empty(2), asked="triton", kernel=True)


def test_without_triton_everything_but_kernels_is_imported():
    code = "import sys; sys.modules['triton'] = None; import ops.kernel; print(ops.kernel.no_triton())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("import of triton halted")


def test_sizes_are_asked_only_on_a_gpu(on_gpu):
    (x,) = on_gpu(torch.float32)
    asked = []

    def takes():
        asked.append("a size")
        return True

    assert _chosen(torch.empty(2), kernel=takes) == HERE
    assert asked == []
    assert _chosen(x, kernel=takes) == "triton"
    assert asked == ["a size"]
