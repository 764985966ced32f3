"""nas bench ops --device cuda without a GPU: what is compared, how times become rows, and what is refused."""

import json
import time

import pytest
import torch

from nas import kernel_bench
from nas.kernel_bench import CASES, KernelRow, context, deformable, gate, large_kernel, norm, response, rows, scanning
from nas.published_kernels import REPLKNET
from ops.kernel import discovered
from space.errors import NasError

SMALL = (
    large_kernel(2, 3, 16, (5, 5)),
    large_kernel(2, 3, 8, (5, 3)),
    deformable(1, 3, 32),
    scanning(1, 4, 9, 2),
    norm((2, 16, 3, 3)),
    response((2, 16, 3, 3)),
    gate((2, 16, 3, 3), "gelu"),
    context((2, 16, 3, 3), (3, 5)),
)


@pytest.fixture
def cpu(monkeypatch):
    """Cases that are small, in float32, on a CPU with its clock."""
    monkeypatch.setattr(kernel_bench, "FLUSHED", 1 << 12)

    def timer(run):
        begin = time.process_time()
        run()
        return max(time.process_time() - begin, 1e-9)

    return timer


def _single(case):
    return kernel_bench.replace(case, dtypes=(torch.float32,))


def test_every_way_is_right_and_every_peer_has_a_row(cpu):
    cases = [_single(case) for case in SMALL]
    found = list(rows(cases, "cpu", cpu, rounds=2))
    assert [(row.op, row.baseline) for row in found] == [
        (case.case.op, peer) for case in cases for peer in case.case.peers
    ]
    assert all(row.right and row.error < 1e-5 and row.ms > 0 and row.percent_of_peak > 0 for row in found)
    for case in cases:
        inputs = [each.double().requires_grad_() for each in case.case.inputs(2)]
        exact = kernel_bench.gradients(case.case.law, inputs)
        for way in case.case.peers.values():
            for mine, law in zip(kernel_bench.gradients(way, inputs), exact, strict=True):
                torch.testing.assert_close(mine, law)


def test_rows_hold_medians_ratios_and_shares_of_the_bandwidth(monkeypatch):
    monkeypatch.setattr(kernel_bench, "FLUSHED", 1 << 12)
    case = _single(large_kernel(2, 3, 16, (5, 5)))
    clock = iter([1e-6] * 10 + [9.0] * 6 + [1.0, 2.0, 4.0, 4.0, 6.0, 1.0, 1.0, 1.0, 2.0])

    def timer(run):
        run()
        return next(clock)

    first, second = rows([case], "cpu", timer, rounds=3)
    # who begins changes from turn to turn: ours take 2, 4 and 2 s, contiguous maps 4, 6 and 1 s, the others 1 s each
    assert (first.ms, first.spread, first.baseline_ms, first.speedup) == (2000.0, 1000.0, 4000.0, 2.0)
    assert (second.ms, second.baseline_ms, second.speedup) == (2000.0, 1000.0, 0.5)
    assert (first.baseline, second.baseline) == ("aten contiguous", "aten channels_last")
    peak = 2 * (1 << 12) / 1e-6
    assert first.percent_of_peak == pytest.approx(100 * 5 * 2 * 3 * 256 * 4 / (first.ms / 1e3) / peak)
    theirs, pytorch = REPLKNET[16, 5]
    assert (first.published_ms, second.published_ms) == (theirs, theirs)
    assert (first.published_speedup, second.published_speedup) == (pytorch / theirs, None)


def test_an_error_is_seen(cpu):
    case = norm((2, 16, 3, 3))
    wrong = kernel_bench.replace(case.case, ours=lambda impl: lambda *tensors: 1.01 * case.case.law(*tensors))
    found = list(rows([_single(kernel_bench.replace(case, case=wrong))], "cpu", cpu, rounds=1))
    assert [row.right for row in found] == [False]
    assert found[0].error == pytest.approx(0.01, rel=0.1)


def test_the_cases_are_those_of_the_published_tables_and_of_all_norms_and_gates():
    assert {case.case.op for case in CASES} >= {"depthwise_conv2d", "deformable_sampling", "selective_scan"}
    assert {case.case.op for case in CASES} >= {"layer_norm2d", "global_response_norm", "gated_product"}
    published = {(case.case.shape[2], case.case.kernel) for case in CASES if case.published_speedup}
    assert published == {(side, f"{k}x{k}") for side in (16, 32, 64) for k in (3, 7, 13, 21, 31)}
    assert [case.published_ms for case in CASES if case.case.op == "deformable_sampling"] == [
        0.606,
        0.303,
        0.145,
        0.073,
    ]
    assert REPLKNET[32, 31] == (96.7, 734.8)
    assert set(discovered()) <= {case.case.op for case in CASES}


@pytest.mark.skipif(torch.cuda.is_available(), reason="speaks of machines without a GPU")
def test_without_a_gpu_one_line_says_so(nas):
    ran = nas("bench", "ops", "--device", "cuda")
    assert ran.code == 2
    assert "bench: device 'cuda', of which PyTorch sees none here, allowed: 'cpu'" in ran.err
    assert ran.out == ""
    with pytest.raises(NasError, match=r"^bench: device 'tpu', allowed: 'cpu', 'cuda', 'xpu'$"):
        kernel_bench.device_timer("tpu")


def test_the_command_prints_a_table_or_json_and_ends_with_1_if_a_kernel_is_wrong(nas, monkeypatch, cpu):
    monkeypatch.setattr(kernel_bench, "device_timer", lambda device: cpu)
    real = kernel_bench.rows
    monkeypatch.setattr(
        kernel_bench, "rows", lambda cases, device, timer, rounds: real(cases, "cpu", timer, rounds=rounds)
    )
    monkeypatch.setattr(kernel_bench, "CASES", [_single(case) for case in SMALL[4:]])
    ran = nas("bench", "ops", "--device", "cuda", "--rounds", "1")
    assert (ran.code, ran.err) == (0, "")
    assert "layer_norm2d, default: " in ran.out
    told = json.loads(nas("bench", "ops", "--device", "cuda", "--rounds", "1", "--op", "gated_product", "--json").out)
    assert [each["op"] for each in told] == ["gated_product"]
    assert set(told[0]) == set(KernelRow._fields)
    monkeypatch.setattr(kernel_bench, "MOST", dict.fromkeys(kernel_bench.MOST, 0.0))
    ran = nas("bench", "ops", "--device", "cuda", "--rounds", "1", "--op", "layer_norm2d")
    assert ran.code == 1
    assert "wrong: layer_norm2d 2x16x3x3  float32: error" in ran.err
