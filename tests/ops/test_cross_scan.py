"""Cross scan and cross merge are the recorded ones, and each other's adjoint along every route."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import cross_merge, cross_scan
from ops.cross_scan.reference import ROUTES

RECORDED = "ops_cross_scan"
ORDER = ("cross", "unidirectional", "bidirectional", "rotation")


def test_outputs_and_gradients_are_the_recorded_ones(case):
    routes = ORDER[case.config["scans"]]
    if case.config["op"].startswith("scan"):
        out = cross_scan(case.get("x"), routes=routes)
    else:
        out = cross_merge(case.get("ys"), routes=routes, summed=case.config["op"] == "merge")
    case.agrees(out=out, tolerance=1e-15)


def _plainly(x, routes):
    """The four sequences of [B, C, H, W] by the words of the docstring."""
    rows, columns = x.flatten(2), x.mT.flatten(2)
    return {
        "cross": (rows, columns, rows.flip(2), columns.flip(2)),
        "unidirectional": (rows,) * 4,
        "bidirectional": (rows, rows, rows.flip(2), rows.flip(2)),
        "rotation": tuple(torch.rot90(x, turns, (2, 3)).flatten(2) for turns in range(4)),
    }[routes]


@pytest.mark.parametrize("routes", ROUTES)
@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 6), width=st.integers(1, 6), strided=st.booleans())
def test_routes_are_what_they_are_called_and_merging_is_the_adjoint(routes, height, width, strided):
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    ys = torch.randn(2, 4, 3, height, width, dtype=torch.float64)
    if strided:
        x, ys = x.mT.contiguous().mT, ys.transpose(0, 2).contiguous().transpose(0, 2)
    read = cross_scan(x, routes=routes)
    assert torch.equal(read, torch.stack(_plainly(x, routes), 1))
    assert torch.equal(cross_scan(x[:, None].expand(2, 4, 3, height, width), routes=routes), read)
    there, back = (read * ys.flatten(3)).sum(), (cross_merge(ys, routes=routes).view_as(x) * x).sum()
    torch.testing.assert_close(there, back, rtol=1e-12, atol=1e-12)
    apart = cross_merge(ys, routes=routes, summed=False)
    torch.testing.assert_close(apart.sum(1), cross_merge(ys, routes=routes), rtol=0, atol=1e-14)


@pytest.mark.parametrize("routes", ROUTES)
def test_merging_what_was_read_gives_the_map_four_times(routes):
    x = torch.randn(2, 3, 5, 4)
    ys = cross_scan(x, routes=routes).unflatten(-1, (5, 4))
    torch.testing.assert_close(cross_merge(ys, routes=routes).view_as(x), 4 * x)
    assert torch.equal(
        cross_merge(ys, routes=routes, summed=False).view(2, 4, 3, 5, 4), x[:, None].expand(2, 4, 3, 5, 4)
    )


class _There(torch.nn.Module):
    def forward(self, x):
        return cross_merge(cross_scan(x, routes="rotation").unflatten(-1, x.shape[-2:]), routes="cross")


def test_traced_compiled_and_half_precision():
    x = torch.randn(2, 3, 5, 4, requires_grad=True)
    expected = _There()(x)
    assert torch.equal(torch.compile(_There(), fullgraph=True, backend="eager")(x), expected)
    program = torch.export.export(_There(), (x,))
    assert torch.equal(program.module()(x), expected)
    assert _There()(x.detach().to("meta")).shape == expected.shape
    assert torch.func.vmap(cross_scan)(x[:, None].detach()).shape == (2, 1, 4, 3, 20)
    assert cross_scan(x.bfloat16()).dtype == torch.bfloat16


def test_other_shapes_and_routes_are_refused():
    with pytest.raises(ValueError, match=r"^cross_scan: x \(2, 3, 5\), allowed: \(B, C, H, W\) or \(B, 4, C, H, W\)$"):
        cross_scan(torch.ones(2, 3, 5))
    with pytest.raises(ValueError, match=r"^cross_merge: ys \(2, 3, 1, 5, 5\), allowed: \(B, 4, C, H, W\)$"):
        cross_merge(torch.ones(2, 3, 1, 5, 5))
    with pytest.raises(ValueError, match=r"^cross_scan: routes 'zigzag', allowed: 'cross', 'unidirectional', 'bidir"):
        cross_scan(torch.ones(2, 3, 5, 5), routes="zigzag")
