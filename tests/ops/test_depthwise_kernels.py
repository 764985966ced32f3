"""The depthwise convolution by our kernels: interpreted against the reference in float64, and as PyTorch sees it."""

from itertools import product

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from ops import depthwise_conv2d
from ops.depthwise_conv2d import kernel_slide, kernel_toeplitz
from ops.depthwise_conv2d.choice import way
from ops.depthwise_conv2d.reference import reference
from ops.depthwise_conv2d.registered import autocast, convolve, convolve_backward, slides
from ops.proof import interpreted, on_cpu

on_cpu(convolve, convolve_backward)
MOST = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SLIDING = (
    ((2, 8, 5, 7), (3, 3), 1), ((1, 40, 9, 3), (5, 3), 1), ((1, 24, 11, 5), (5, 7), 2), ((1, 8, 3, 14), (11, 1), 1),
    ((1, 8, 5, 3), (1, 9), 2), ((1, 8, 1, 1), (51, 5), 1), ((1, 8, 2, 6), (3, 61), 1),
)  # fmt: skip
"""Shapes, kernels and dilations: primes, one position, channels that fill no block, kernels larger than the map."""
MULTIPLIED = (
    ((2, 3, 5, 7), (3, 3), 1), ((1, 2, 7, 16), (5, 7), 2), ((1, 1, 5, 37), (5, 5), 3), ((1, 1, 7, 37), (31, 31), 1),
    ((1, 1, 3, 40), (3, 9), 1), ((1, 2, 3, 72), (3, 31), 1), ((1, 1, 1, 1), (61, 61), 1), ((3, 1, 31, 2), (61, 3), 1),
)  # fmt: skip


def _inputs(shape, kernel, dtype, layout):
    x, grad = (torch.randn(shape).to(dtype).contiguous(memory_format=LAYOUTS[layout]) for _ in range(2))
    weight = torch.randn(shape[1], 1, *kernel) / (kernel[0] * kernel[1]) ** 0.5
    return x, weight.to(dtype), torch.randn(shape[1]).to(dtype), grad


def _law(x, weight, bias, grad, dilation):
    wide = [each.detach().double().requires_grad_() for each in (x, weight, bias)]
    out = reference(*wide, dilation)
    return [out.detach(), *torch.autograd.grad(out, wide, grad.double())]


def _errors(found, exact):
    pairs = ((f.detach().double(), e.detach()) for f, e in zip(found, exact, strict=True))
    return [float((f - e).abs().max() / e.abs().max()) for f, e in pairs]


def _run(kernels, inputs, dilation, **how):
    with interpreted(count=False, **how) as run:
        x, weight, bias, grad = (each if 0 in each.stride() else run.guarded(each) for each in inputs)
        out = kernels.forward(x, weight, bias, dilation)
        d_x = kernels.forward(grad, weight, None, dilation, back=True)
        found = out, d_x, *kernels.weight_gradient(grad, x, *weight.shape[2:], dilation)
    return found, run.launched


@pytest.mark.parametrize("dtype", MOST, ids=str)
@pytest.mark.parametrize(
    ("kernels", "cases", "layout"),
    [(kernel_slide, SLIDING, "channels_last"), (kernel_toeplitz, MULTIPLIED, "contiguous")],
    ids=["slide", "toeplitz"],
)
def test_each_configuration_is_the_reference(kernels, cases, layout, dtype):
    launched = set()
    for number, (shape, kernel, dilation) in enumerate(cases):
        inputs = _inputs(shape, kernel, dtype, layout)
        assert slides(inputs[0], *kernel) == (kernels is kernel_slide and inputs[0].stride(3) != 1)
        found, configurations = _run(kernels, inputs, dilation, reverse=number % 2 == 1)
        launched.update(configurations)
        errors = _errors(found, _law(*inputs, dilation))
        assert max(errors) <= MOST[dtype], (shape, kernel, dilation, errors)
        assert found[0].dtype == found[1].dtype == dtype
    name = str(dtype).removeprefix("torch.")
    assert launched == {c for c in kernels.CONFIGURATIONS if name in c.name.split()}


def test_strides_of_all_kinds_are_taken_without_a_copy_where_rows_or_channels_lie_side_by_side():
    whole = torch.randn(2, 24, 6, 16)
    last = whole.contiguous(memory_format=torch.channels_last)
    for x, kernels in (
        (whole[:, 3:5], kernel_toeplitz), (whole[:, :2, ::2, 1:9], kernel_toeplitz), (last[:, 8:16], kernel_slide),
        (last[:, 3:11, :, ::3], kernel_slide), (whole.transpose(2, 3)[:, :8], kernel_toeplitz),
        (whole[:1, :8, :1, :1].expand(2, 8, 5, 4), kernel_slide),
    ):  # fmt: skip
        weight, bias = torch.randn(x.shape[1], 1, 3, 5), torch.randn(x.shape[1] + 1)[1:]
        found, _ = _run(kernels, (x, weight, bias, x), 1)
        assert max(_errors(found, _law(x, weight, bias, x, 1))) <= 1e-6
    assert kernel_toeplitz.laid(whole[:, 2:5]).data_ptr() == whole[:, 2:5].data_ptr()
    assert kernel_slide.laid(last[:, 8:16]).data_ptr() == last[:, 8:16].data_ptr()


def test_numbers_that_are_none_reach_what_they_must_and_nothing_else():
    x, weight, bias, grad = _inputs((3, 8, 6, 6), (3, 3), torch.float32, "channels_last")
    x[1, 5, 0, 0] = float("nan")
    for kernels in (kernel_slide, kernel_toeplitz):
        found, _ = _run(kernels, (x, weight, bias, grad), 1)
        law = _law(x, weight, bias, grad, 1)
        # a row of a tile meets what is no tap of it as a product by 0
        wider = found[0].isnan() & ~law[0].isnan() if kernels is kernel_slide else found[0][[0, 2]].isnan()
        assert not wider.any()
        assert torch.equal(found[2].isnan().flatten(1).any(1), law[2].isnan().flatten(1).any(1))


def test_the_gradient_of_many_tiles_is_the_sum_of_its_programs():
    for kernels, layout, shape in (
        (kernel_slide, "channels_last", (5, 8, 17, 9)),
        (kernel_toeplitz, "contiguous", (40, 1, 7, 9)),
    ):
        inputs = _inputs(shape, (3, 3), torch.float32, layout)
        with interpreted(count=False):
            found = kernels.weight_gradient(inputs[3], inputs[0], 3, 3, 1)
        assert max(_errors(found, _law(*inputs, 1)[2:])) <= 1e-6


def test_on_a_gpu_the_way_follows_what_pays(monkeypatch):
    monkeypatch.delenv("NAS_OPS", raising=False)
    with FakeTensorMode():
        x, weight = torch.empty(2, 8, 9, 9, device="cuda"), torch.empty(8, 1, 7, 7, device="cuda")

        def taken(x, weight, dilation=1, stride=1, asked=None):
            return way(x, weight, None, dilation=dilation, stride=stride, asked=asked)

        assert taken(x, weight) == taken(x.half(), weight.half(), 3) == "triton"
        for other in ((x.double(), weight.double()), (x, weight, 1, 2), (x, weight.new_empty(8, 1, 63, 3))):
            assert taken(*other) == "reference"
        assert taken(x, weight, asked="reference") == "reference"
        with pytest.raises(ValueError, match="depthwise_conv2d: impl 'triton'"):
            taken(x, weight, stride=2, asked="triton")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_on_a_gpu_shapes_and_strides_are_those_that_the_kernels_write(layout):
    for dtype, side in product((torch.float32, torch.bfloat16), (3, 31)):
        inputs = _inputs((2, 8, 5, 6), (side, side), dtype, layout)
        with interpreted(count=False):
            written = (
                convolve._init_fn(*inputs[:3], 1),
                *convolve_backward._init_fn(*inputs[3:], *inputs[:2], 1, *[True] * 3),
            )
        with FakeTensorMode() as mode:
            x, weight, bias, grad = (mode.from_tensor(each).to("cuda") for each in inputs)
            out = depthwise_conv2d(x, weight.requires_grad_(), bias)
            assert "nas_ops_depthwise_conv2d_triton" in type(out.grad_fn).__name__
            told = out, *convolve_backward(grad, x, weight, 1, True, True, True)
        for mine, fake in zip(written, told, strict=True):
            assert (mine.shape, mine.dtype, mine.stride()) == (fake.shape, fake.dtype, fake.stride())


def test_under_autocast_a_gpu_convolves_in_its_dtype(monkeypatch):
    with FakeTensorMode():
        x, weight = torch.empty(2, 8, 5, 6, device="cuda"), torch.empty(8, 1, 3, 3, device="cuda")
        # torch.autocast turns itself off where there is no GPU
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind == "cuda")
        assert depthwise_conv2d(x, weight).dtype == torch.get_autocast_dtype("cuda") == torch.float16
        assert autocast(x.double(), weight)[0].dtype == torch.float64
    assert autocast(torch.ones(1), None) == (torch.ones(1), None)


def test_the_operators_are_what_pytorch_expects():
    quick = ("test_schema", "test_autograd_registration", "test_faketensor")
    for layout, checks in (("contiguous", (*quick, "test_aot_dispatch_static")), ("channels_last", quick)):
        x, weight, bias, grad = (each.requires_grad_() for each in _inputs((1, 8, 2, 3), (3, 3), torch.float32, layout))
        opcheck(convolve, (x, weight, bias, 2), test_utils=checks)
        opcheck(convolve_backward, (grad, x, weight, 1, True, True, True), test_utils=quick)


def test_gradients_of_gradients_are_those_of_the_reference():
    inputs = _inputs((1, 2, 3, 4), (3, 3), torch.float32, "contiguous")[:3]

    def second(function, inputs):
        leaves = [each.clone().requires_grad_() for each in inputs]
        first = torch.autograd.grad((function(*leaves, 1) ** 3).sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum((g**2).sum() for g in first), leaves)

    exact = second(reference, [each.double() for each in inputs])
    assert max(_errors(second(convolve, inputs), exact)) < 1e-5


def test_compiled_without_a_break():
    inputs = _inputs((1, 2, 3, 4), (3, 3), torch.float32, "contiguous")
    leaves = [each.requires_grad_() for each in inputs[:3]]
    compiled = torch.compile(lambda *tensors: convolve(*tensors, 1) * 2, fullgraph=True, backend="aot_eager")
    out = compiled(*leaves)
    exact = _law(*inputs[:3], 2 * inputs[3], 1)
    assert max(_errors((out / 2, *torch.autograd.grad(out, leaves, inputs[3])), exact)) < 1e-6
