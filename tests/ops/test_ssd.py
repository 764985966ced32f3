"""The state-space dual scan is the recorded one, and the recurrence for any chunk, outputs and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from ops import selective_scan, ssd, ssd_discrete, ssd_step
from ops.ssd.reference import reference

RECORDED = "ops_ssd"


def _inputs(batch=2, length=13, heads=4, width=3, groups=2, states=5, dtype=torch.float64, step=1.0):
    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64).to(dtype).requires_grad_()

    return {
        "x": normal(batch, length, heads, width),
        "dt": (step * torch.rand(batch, length, heads, dtype=torch.float64)).to(dtype).requires_grad_(),
        "A": (-torch.arange(1.0, heads + 1)).to(dtype).requires_grad_(),
        "B": normal(batch, length, groups, states), "C": normal(batch, length, groups, states),
        "D": normal(heads), "z": normal(batch, length, heads, width), "dt_bias": normal(heads),
        "initial_state": normal(batch, heads, width, states),
    }  # fmt: skip


def _discrete(**changes):
    given = _inputs(**changes)
    decay = (given["dt"] * given["A"]).detach().requires_grad_()
    return [given["x"], decay, given["B"], given["C"], given["initial_state"]]


def _gradients(function, inputs):
    outputs = function(*inputs)
    directions = [torch.linspace(-1, 1, o.numel(), dtype=o.dtype).view(o.shape) for o in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, directions)]


def _error(found, exact):
    found, exact = found.detach().double(), exact.detach().double()
    return float((found - exact).abs().max() / exact.abs().max().clamp(min=1e-30))


def test_outputs_and_gradients_are_the_recorded_ones(case):
    if case.name.startswith("combined"):
        names = ("x", "dt", "A", "B", "C", "D", "z", "dt_bias")
        options = {"chunk": case.config["chunk_size"], "dt_softplus": case.config["dt_softplus"]}
        out, last = ssd(*map(case.get, names), **options, return_last_state=True)
        case.agrees(out=out, final_state=last)
        return
    initial = case.get("initial_states")
    tensors = [*map(case.get, ("X", "A", "B", "C")), initial if initial is None else initial[:, 0]]
    out, last = ssd_discrete(*tensors, chunk=case.config["block_len"])
    case.agrees(Y=out, final_state=last)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 40), chunk=st.integers(1, 50), groups=st.integers(1, 3), heads=st.integers(1, 2),
    width=st.integers(1, 3), states=st.integers(1, 4),
)  # fmt: skip
def test_any_chunk_is_the_recurrence(length, chunk, groups, heads, width, states):
    inputs = _discrete(length=length, heads=groups * heads, groups=groups, width=width, states=states)
    law = _gradients(reference, inputs)
    for mine, expected in zip(_gradients(lambda *t: ssd_discrete(*t, chunk=chunk), inputs), law, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-11)


def test_one_chunk_is_the_quadratic_form():
    x, decay, b, c, _ = _discrete(heads=1, groups=1)
    total = decay[:, :, 0].cumsum(1)
    mask = (total[:, :, None] - total[:, None]).exp().tril()
    quadratic = ((c[:, :, 0] @ b[:, :, 0].mT) * mask) @ x[:, :, 0]
    torch.testing.assert_close(ssd_discrete(x, decay, b, c, chunk=13)[0][:, :, 0], quadratic, rtol=1e-11, atol=1e-11)


def test_it_is_the_selective_scan_with_one_decay_a_head():
    given = _inputs()
    out = ssd(*(given[name] for name in ("x", "dt", "A", "B", "C", "D", "z")))
    heads, width = out.shape[2:]
    flat = {name: given[name].flatten(2).mT for name in ("x", "z")}
    scanned = selective_scan(
        flat["x"], given["dt"].repeat_interleave(width, 2).mT,
        given["A"].repeat_interleave(width)[:, None].expand(-1, 5),
        *(given[name].permute(0, 2, 3, 1) for name in ("B", "C")), given["D"].repeat_interleave(width), flat["z"],
    )  # fmt: skip
    torch.testing.assert_close(out, scanned.mT.unflatten(2, (heads, width)), rtol=1e-11, atol=1e-11)


def test_steps_are_the_scan():
    given = _inputs()
    given["D"] = torch.randn(4, 3, dtype=torch.float64)
    out, last = ssd(**given, dt_softplus=True, return_last_state=True)
    state, outputs = given.pop("initial_state"), []
    for position in range(out.shape[1]):
        here = {name: t[:, position] if t.ndim > 2 else t for name, t in given.items()}
        y, state = ssd_step(state, **here, dt_softplus=True)
        outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, 1), out, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(state, last, rtol=1e-11, atol=1e-11)


def test_derivatives_are_those_of_finite_differences():
    inputs = tuple(_inputs(batch=1, length=7, heads=2, width=2, states=2).values())

    def scan(*tensors):
        return ssd(*tensors, chunk=3, dt_softplus=True, return_last_state=True)

    assert torch.autograd.gradcheck(scan, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(scan, inputs, fast_mode=True)


@pytest.mark.parametrize("step", [1e-5, 1e-2, 1.0, 100.0, 1e4])
def test_long_sequences_and_extreme_steps_in_single_precision(step):
    single = [t.detach().float().requires_grad_() for t in _discrete(batch=1, length=3136, states=8, step=step)]
    exact = [tensor.detach().double().requires_grad_() for tensor in single]
    for mine, law in zip(_gradients(ssd_discrete, single), _gradients(ssd_discrete, exact), strict=True):
        assert torch.isfinite(mine).all()
        assert _error(mine, law) < 5e-6


def test_small_steps_keep_their_digits_beside_large_ones():
    """Differences of sums would lose them: 1e4 and 1e-3 do not fit into one fp32 number."""
    x, decay, b, c, _ = (tensor.detach() for tensor in _discrete(length=64, step=1e-3))
    decay[:, 10] = -1e4
    law = reference(x, decay, b, c)[0]
    assert _error(ssd_discrete(*(t.float() for t in (x, decay, b, c)))[0], law) < 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_is_rounded_once_and_autocast_takes_nothing(dtype, tolerance):
    half = {name: tensor.detach() for name, tensor in _inputs(dtype=dtype, length=100, step=0.1).items()}
    out, last = ssd(**half, dt_softplus=True, return_last_state=True)
    law = ssd(**{name: tensor.double() for name, tensor in half.items()}, dt_softplus=True)
    assert (out.dtype, last.dtype) == (dtype, torch.float32)
    assert _error(out, law) < tolerance
    single = {name: tensor.float() for name, tensor in half.items()}
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ssd(**half, dt_softplus=True), out)
        assert _error(ssd(**single, dt_softplus=True), law) < 1e-5


class _Ssd(torch.nn.Module):
    def forward(self, x, dt, a, b, c):
        return ssd(x, dt, a, b, c, dt_softplus=True)


def test_traced_compiled_and_counted():
    inputs = tuple(tensor.detach() for tensor in list(_inputs(length=70).values())[:5])
    expected = _Ssd()(*inputs)
    torch.testing.assert_close(torch.compile(_Ssd(), fullgraph=True, backend="eager")(*inputs), expected)
    program = torch.export.export(_Ssd(), inputs)
    torch.testing.assert_close(program.module()(*inputs), expected)
    with FlopCounterMode(display=False) as counter:
        assert _Ssd()(*(tensor.to("meta") for tensor in inputs)).shape == expected.shape
    q, (heads, width, groups, states) = 64, (4, 3, 2, 5)
    macs = 2 * 2 * (groups * q * q * states + heads * (q * q * width + 2 * q * states * width))
    assert counter.get_total_flops() == 2 * macs


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("dt", (2, 13, 3), r"dt \(2, 13, 3\), allowed: \(2, 13, 4\)"),
        ("A", (4, 5), r"A \(4, 5\), allowed: \(4,\)"),
        ("B", (2, 13, 5), r"B \(2, 13, 5\), allowed: \(2, 13, G, N\)"),
        ("C", (2, 13, 2, 4), r"C \(2, 13, 2, 4\), allowed: \(2, 13, 2, 5\)"),
        ("D", (3,), r"D \(3,\), allowed: \(4,\) or \(4, 3\)"),
        ("initial_state", (2, 4, 5, 3), r"state \(2, 4, 5, 3\), allowed: \(2, 4, 3, 5\)"),
    ],
)
def test_other_shapes_are_refused(name, shape, words):
    given = _inputs()
    given[name] = torch.ones(shape)
    with pytest.raises(ValueError, match=f"^ssd: {words}$"):
        ssd(**given)
    given = _inputs() | {name: torch.ones(2, 13, 3, 5) for name in ("B", "C")}
    with pytest.raises(ValueError, match=r"^ssd: B has 3 groups, allowed: divisors of 4 heads$"):
        ssd(**given)
