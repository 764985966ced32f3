"""nas bench ops: every way computes the same, and the rows say what was timed."""

import json

import pytest

from nas import operator_bench, operator_cases
from nas.operator_bench import Row, peak_macs, rows, summary
from nas.operator_cases import CASES, branches, depthwise, focal, inception, sampling, scan, scan_2d

SMALL = (
    depthwise((2, 3, 6, 5), (3, 5), dilation=2),
    depthwise((2, 17, 8, 8), (13, 13)),
    depthwise((1, 4, 7, 7), (3, 3), stride=2),
    scan(2, 4, 9, 3, 2),
    sampling(1, 4, 5, 2, 8),
    branches((1, 3, 6, 5), (7, 3)),
    inception((1, 7, 5, 6), 2, 3, 11),
    scan_2d(1, 4, 3, 2, 3),
    focal((1, 4, 5, 6), (3, 5)),
)


def test_there_is_a_case_for_each_operator():
    assert {case.op for case in CASES} == {case.op for case in SMALL}


def test_ours_and_every_peer_compute_the_same():
    for case in SMALL:
        inputs = [tensor.double().requires_grad_() for tensor in case.inputs(2)]
        law = operator_bench.gradients(case.law, inputs)
        for name, way in {"ours": case.ours(None), "pytorch": case.ours("pytorch"), **case.peers}.items():
            for mine, expected in zip(operator_bench.gradients(way, inputs), law, strict=True):
                error = ((mine - expected).abs().max() / expected.abs().max()).item()
                assert error < 1e-9, (case.op, name, error)


def test_rows_name_what_was_timed_and_count_only_taps_on_the_map():
    found = list(rows(SMALL, rounds=2))
    assert len(found) == sum(2 * len(case.peers) for case in SMALL)
    for row in found:
        assert row.ms > 0
        assert row.spread >= 0
        assert row.baseline_ms / row.ms == pytest.approx(row.speedup)
        assert row.error < 1e-5
    assert {row.baseline for row in found if row.op == "deformable_sampling"} == {"grid_sample", "torchvision"}
    assert [row.percent_of_peak for row in found if row.op == "selective_scan"] == [None, None]
    # 3 taps 2 apart on 6 rows meet 2 * 4 + 6 of them; 5 taps on 5 columns 5 + 2 * 3 + 2 * 1
    assert SMALL[0].macs == 3 * 2 * 3 * 14 * 13
    assert depthwise((1, 1, 3, 3), (3, 3)).macs == 3 * 7 * 7
    assert branches((1, 1, 3, 3), (3, 1)).macs == 3 * (7 * 7 + 3 * 3)
    assert inception((1, 5, 3, 3), 1, 3, 3).macs == 3 * (7 * 7 + 2 * 3 * 7)


def test_the_summary_holds_the_mean_and_the_least_against_each_and_the_best():
    def row(shape, baseline, speedup):
        return Row("op", shape, "", "default", 1, 0, baseline, speedup, speedup, 0, None)

    found = summary([row("a", "x", 2.0), row("a", "y", 8.0), row("b", "x", 8.0), row("b", "y", 2.0)])
    assert [(name, peer) for name, _, peer, _, _ in found] == [("op", "x"), ("op", "y"), ("op", "best")]
    assert [each[3:] for each in found] == [
        (pytest.approx(4.0), 2.0), (pytest.approx(4.0), 2.0), (pytest.approx(2.0), 2.0),
    ]  # fmt: skip


def test_peak_is_that_of_a_processor(monkeypatch):
    assert 1e9 < peak_macs(seconds=0.01) < 1e12
    monkeypatch.setattr(operator_bench, "missing", lambda: "no compiler")
    assert 1e8 < peak_macs() < 1e12


def test_the_command_prints_a_table_or_json(nas, monkeypatch):
    monkeypatch.setattr(operator_cases, "CASES", SMALL[2:4])
    ran = nas("bench", "ops", "--rounds", "1")
    assert (ran.code, ran.err) == (0, "")
    assert "published loop" in ran.out
    assert "depthwise_conv2d, default: " in ran.out
    told = json.loads(nas("bench", "ops", "--rounds", "1", "--op", "selective_scan", "--json").out)
    assert [each["impl"] for each in told] == ["default", "pytorch"]
    assert set(told[0]) == set(Row._fields)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "tpu"), "bench: device 'tpu', allowed: 'cpu', 'cuda', 'xpu'"),
        (("--op", "conv"), "bench: op 'conv', allowed: depthwise_conv2d, selective_scan, deformable_sampling"),
    ],
)
def test_other_devices_and_operators_are_refused(nas, arguments, words):
    ran = nas("bench", "ops", *arguments)
    assert ran.code == 2
    assert words in ran.err
