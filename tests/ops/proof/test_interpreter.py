"""Arithmetic under the interpreter is that of devices: a test for each thing that the stock interpreter gets wrong."""

import importlib.util
from pathlib import Path

import pytest
import torch
import triton
from triton.runtime.jit import JITFunction

from ops.proof import interpreted

spec = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
planted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(planted)

SIDE = 16


def test_products_of_bf16_are_those_of_the_numbers():
    a, b = (torch.randn(SIDE, SIDE).bfloat16() for _ in range(2))
    c = torch.empty(SIDE, SIDE)
    with interpreted():
        planted.product[(1,)](a, b, c, SIDE, "ieee")
    torch.testing.assert_close(c.double(), a.double() @ b.double(), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "least", "most"),
    [("ieee", 0, 1e-6), ("tf32x3", 0, 1e-6), ("tf32", 1e-4, 1e-2), ("bf16x3", 1e-7, 2e-5), ("bf16x6", 0, 1e-6)],
)
def test_products_of_float32_lose_what_tensor_cores_lose(precision, least, most):
    a, b = (torch.randn(SIDE, SIDE) for _ in range(2))
    c = torch.empty(SIDE, SIDE)
    with interpreted():
        planted.product[(1,)](a, b, c, SIDE, precision)
    exact = a.double() @ b.double()
    assert least <= (c - exact).abs().max() / exact.abs().max() <= most


def test_each_operation_on_bf16_rounds_to_nearest_even():
    a, b = (torch.randn(256).bfloat16() for _ in range(2))
    c = torch.empty(256, dtype=torch.bfloat16)
    with interpreted():
        planted.bf16_arithmetic[(1,)](a, b, c, 256)
    assert torch.equal(c, (a * b - a).abs())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stores_round_as_pytorch_does(dtype):
    x = torch.cat([torch.randn(252), torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0])])
    y = torch.empty(256, dtype=dtype)
    with interpreted():
        planted.stored[(1,)](x, y, 256)
    torch.testing.assert_close(y, x.to(dtype), rtol=0, atol=0, equal_nan=True)


def test_bf16_is_read_and_written_by_its_bits():
    x, y = torch.randn(SIDE).bfloat16(), torch.empty(SIDE, dtype=torch.bfloat16)
    with interpreted():
        planted.bits[(1,)](x, y, SIDE)
    assert torch.equal(y, -x)


def test_scans_and_reductions_by_own_functions_are_those_of_a_loop():
    a, x, y = torch.rand(SIDE, SIDE), torch.randn(SIDE, SIDE), torch.empty(SIDE * SIDE + SIDE)
    with interpreted():
        planted.recurrence[(1,)](a, x, y, SIDE)

    def loop(a, x):
        states = [x[0]]
        for rate, value in zip(a[1:], x[1:], strict=True):
            states.append(rate * states[-1] + value)
        return torch.stack(states)

    torch.testing.assert_close(y[: SIDE * SIDE].view(SIDE, SIDE), loop(a, x))
    torch.testing.assert_close(y[SIDE * SIDE :], loop(a.t(), x.t())[-1])


def test_atomics_of_bf16_are_refused_and_others_add():
    x, y = torch.ones(SIDE), torch.zeros(1)
    with interpreted():
        planted.added[(1,)](x, y, SIDE)
    assert y.item() == SIDE
    with pytest.raises(NotImplementedError, match="atomics of bf16"), interpreted():
        planted.added[(1,)](x.bfloat16(), y.bfloat16(), SIDE)


def test_nothing_stays_patched():
    builder = triton.runtime.interpreter.InterpreterBuilder
    before = JITFunction.run, JITFunction.__call__, builder.cast_impl, triton.language.load, triton.language.reduce
    with interpreted():
        assert JITFunction.run is not before[0]
    with pytest.raises(ZeroDivisionError), interpreted():
        _ = 1 / 0
    after = JITFunction.run, JITFunction.__call__, builder.cast_impl, triton.language.load, triton.language.reduce
    assert after == before
    assert not hasattr(builder, "get_bf16")


@pytest.mark.parametrize(("size", "found"), [(8, [0.0, 2.0, 2.0, 2.0, 2.0]), (2, [0.0, 7.0, 7.0, 7.0, 7.0])])
def test_single_numbers_and_masks_of_one_truth_value(size, found):
    x, y = torch.full((8,), 2.0), torch.full((5,), 7.0)
    with interpreted():
        planted.single[(1,)](x, y, size)
    assert y.tolist() == found
