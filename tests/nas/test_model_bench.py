"""nas bench models: both networks of a case compute the same, and the rows say what was timed."""

import json
import os

import pytest
import torch
from torch import nn

from nas import model_bench
from nas.model_bench import MODELS, Case, Row, cases, networks, rows, summary, timm_name
from nas.turns import by_turns
from space.errors import NasError
from space.named import model_names

SMALL = Case("convnextv2_atto", "timm", 32, 2)


def test_the_smallest_of_each_family_is_known_and_timm_is_the_peer_where_it_computes_the_same():
    assert set(MODELS) <= set(model_names())
    peers = {case.model: case.peer for case in cases(MODELS, (), (64,))}
    assert peers["inceptionnext_atto"] == "timm"
    assert peers["vmamba_tiny_s1l8"] == "reference"
    assert timm_name("inceptionnext_atto") == "inception_next_atto"
    assert timm_name("poolformer_s12") is None, "timm's has its head's norm elsewhere"
    assert timm_name("poolformer_s12_timm") == "poolformer_s12"


def test_sizes_are_those_asked_for_but_where_weights_belong_to_one():
    found = cases(["van_b0", "deit_tiny_patch16_224"], ["pytorch"], (32, 64), 3)
    assert [(case.model, case.size, case.batch) for case in found] == [
        ("van_b0", 32, 3), ("van_b0", 64, 3), ("deit_tiny_patch16_224", 224, 3),
    ]  # fmt: skip


def test_both_carry_the_same_weights_and_none_is_too_small_to_matter():
    ours, theirs = networks(SMALL)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        found, expected = ours.eval()(images), theirs.eval()(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for name, weight in theirs.named_parameters():
        assert weight.abs().max() > 1e-2, name


@pytest.fixture(scope="module")
def timed():
    return list(rows([SMALL, Case("convnext_atto", "reference", 32)], rounds=2))


def test_rows_hold_what_was_timed(timed):
    assert [(row.model, row.peer, row.mode, row.size, row.batch) for row in timed] == [
        ("convnextv2_atto", "timm", "train", 32, 2), ("convnextv2_atto", "timm", "inference", 32, 2),
        ("convnext_atto", "reference", "train", 32, 32), ("convnext_atto", "reference", "inference", 32, 32),
    ]  # fmt: skip
    for row in timed:
        assert row.speedup == pytest.approx(row.peer_ms / row.ms)
        assert (row.device, row.threads) == ("cpu", 1)
        assert row.error < 1e-4
    assert timed[0].ms > timed[1].ms > 0, "a training step holds a forward pass"
    assert "NAS_OPS" not in os.environ


def test_the_summary_takes_geometric_means(timed):
    fast, slow = (timed[0]._replace(speedup=speedup) for speedup in (4.0, 1.0))
    assert summary([fast, slow]) == [("timm", "train", pytest.approx(2.0), 1.0)]


def test_a_peer_that_computes_something_else_is_refused(monkeypatch):
    def other(case):
        ours, theirs = networks(case)
        nn.init.constant_(theirs.head.fc.bias, 1.0)
        return ours, theirs

    monkeypatch.setattr(model_bench, "networks", other)
    with pytest.raises(NasError, match=r"^bench: outputs of convnextv2_atto and timm differ by \de[+-]\d\d, allowed: "):
        list(rows([SMALL]))


def test_the_operators_of_the_peer_are_those_it_is_named_after(monkeypatch):
    monkeypatch.setenv("NAS_OPS", "pytorch")
    assert model_bench._by("reference", lambda: os.environ["NAS_OPS"])() == "reference"
    assert model_bench._by(None, lambda: os.environ["NAS_OPS"])() == "pytorch"
    assert os.environ["NAS_OPS"] == "pytorch"


def test_ways_take_turns_and_a_slow_one_runs_once():
    seen, now = [], [0.0]

    def way(name, seconds):
        def run():
            seen.append(name)
            now[0] += seconds

        return run

    found = by_turns({"a": way("a", 1.0), "b": way("b", 2.0), "c": way("c", 9.0)}, lambda: now[0], 2, patience=5.0)
    assert "".join(seen) == "abcbaab"
    assert {name: quartiles.median for name, quartiles in found.items()} == {"a": 1.0, "b": 2.0, "c": 9.0}


def test_the_command_prints_a_table_or_json(nas, monkeypatch, timed):
    monkeypatch.setattr(model_bench, "rows", lambda cases, **settings: iter(timed[:2]))
    ran = nas("bench", "models", "convnextv2_atto", "--size", "32")
    assert (ran.code, ran.err) == (0, "")
    assert "inference: " in ran.out
    assert " times as fast as timm (geometric mean)" in ran.out
    told = json.loads(nas("bench", "models", "convnextv2_atto", "--json").out)
    assert [each["mode"] for each in told] == ["train", "inference"]
    assert set(told[0]) == set(Row._fields)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("convnext_ato",), "did you mean 'convnext_atto'"),
        (("van_b0", "--peer", "timm"), "bench: timm has no van_b0, allowed: reference, pytorch"),
        (("van_b0", "--peer", "keras"), "bench: peer 'keras', allowed: timm, reference, pytorch"),
        (("van_b0", "--device", "tpu"), "bench: device 'tpu', allowed: cpu"),
    ],
)
def test_what_cannot_be_timed_is_refused(refused, arguments, words):
    assert words in refused("bench", "models", *arguments)
