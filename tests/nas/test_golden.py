"""Reproduction is judged here: golden records, the rule that fills weights, and what a bad record leads to."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.golden import (
    Verified,
    filled,
    images,
    published_state,
    read_record,
    record_files,
    relative_error,
    verify,
    verify_file,
)
from space.errors import NasError

RECORDS = Path(__file__).parents[1] / "golden" / "records"
FILES = sorted(RECORDS.glob("*.json.gz"))
SMALLEST = RECORDS / "inceptionnext_atto.json.gz"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads of tests that run side by side would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name.partition(".")[0])
def test_reproduces_the_published_network(path: Path) -> None:
    found = verify_file(path)
    assert found.ok, found.message
    assert found.error is not None
    # records hold 10 digits, so that a correct network comes far below the limit
    assert found.error < 1e-9
    assert found.message == ("timm layout" if path.name.endswith("_timm.json.gz") else "authors layout")


@pytest.fixture
def altered(tmp_path: Path) -> Callable[..., Path]:
    """Write the smallest record with some fields changed."""

    def write(**changes: Any) -> Path:
        record = json.loads(gzip.decompress(SMALLEST.read_bytes()))
        path = tmp_path / "altered.json.gz"
        path.write_bytes(gzip.compress(json.dumps(record | changes).encode()))
        return path

    return write


def test_fill_depends_on_key_and_role() -> None:
    assert torch.equal(filled("a.weight", (4, 3)), filled("a.weight", (4, 3)))
    assert not torch.equal(filled("a.weight", (4, 3)), filled("b.weight", (4, 3)))
    assert float(filled("x.weight", (500, 40, 3, 3)).std()) == pytest.approx(360**-0.5, rel=0.02)
    assert float(filled("x.bias", (5000,)).std()) == pytest.approx(0.1, rel=0.1)
    assert float(filled("norm.weight", (5000,)).mean()) == pytest.approx(1, abs=0.01)
    assert float(filled("gamma", (1, 1, 1, 5000)).mean()) == pytest.approx(1, abs=0.01)
    assert float(filled("grn.beta", (1, 1, 1, 5000)).mean()) == pytest.approx(0, abs=0.01)
    assert (filled("norm.running_var", (5000,)) >= 1).all()
    assert float(filled("norm.running_mean", (5000,)).std()) == pytest.approx(0.1, rel=0.1)
    assert filled("x.scale", ()).shape == ()
    table = filled("mixer.A_logs", (200, 6)).mean(0)
    torch.testing.assert_close(table, torch.arange(1.0, 7.0).double().log(), atol=0.05, rtol=0)


def test_images_are_fixed() -> None:
    x = images((3, 8, 6))
    assert x.shape == (2, 3, 8, 6)
    assert float(x.flatten()[0]) == pytest.approx(1.764052345967664)


def test_kept_keys_have_their_constant(altered: Callable[..., Path]) -> None:
    key = "stages.0.blocks.0.gamma"
    record = read_record(altered(kept=[key], extra={"kept_values": {"gamma": 0.25}}))
    state = published_state(record)
    assert (state[key] == 0.25).all()
    assert not (state["stages.0.blocks.1.gamma"] == 0.25).any()
    with pytest.raises(NasError, match="does not say at which value"):
        published_state(read_record(altered(kept=[key])))


def test_further_sizes_are_compared_too(altered: Callable[..., Path]) -> None:
    logits = json.loads(gzip.decompress(SMALLEST.read_bytes()))["logits"]
    wrong = altered(extra={"sizes": {"64x96": {"input_size": [3, 64, 96], "logits": logits}}})
    found = verify_file(wrong)
    assert not found.ok
    assert "at 64 x 96 px" in found.message
    assert "224" not in found.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "convnext_tinny"}, "did you mean 'convnext_tiny'"),
        ({"name": "resnet50"}, "unknown name 'resnet50'"),
        ({"params": 4156521}, "4156520 parameters, the record has 4156521"),
        ({"macs": 1}, "503035040 MACs, the record has 1"),
        ({"logits": [[0.5] * 1000] * 2}, "the limit is 1e-06"),
        ({"logits": [[0.5] * 10] * 2}, "outputs have the shape [2, 1000], the record's [2, 10]"),
        ({"name": "convnext_atto"}, "keys missing"),
        ({"state": {}}, "keys missing"),
        ({"logits": []}, "logits"),
        ({"dtype": "int8"}, "dtype"),
        ({"input_size": [4, 224, 224]}, "images of 4 channels, the network takes 3"),
        ({"extra": {"sizes": {"x": {"input_size": [3, "a", 5], "logits": [[0.0]]}}}}, "cannot"),
    ],
)
def test_what_does_not_agree_is_told(altered: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    found = verify_file(altered(**changes))
    assert not found.ok
    assert message in found.message
    assert "\n" not in found.message


def test_unknown_macs_are_not_compared(altered: Callable[..., Path]) -> None:
    assert verify_file(altered(macs=None)).ok


def test_records_in_single_precision_have_the_wider_limit(altered: Callable[..., Path]) -> None:
    found = verify_file(altered(dtype="float32"))
    assert found.ok
    assert found.limit == 1e-3
    assert found.error is not None
    assert 1e-9 < found.error < 1e-4


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"{"), gzip.compress(b"[]"), SMALLEST.read_bytes()[:900]],
    ids=["empty", "not gzip", "cut json", "a list", "cut gzip"],
)
def test_damaged_files_fail_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a_damaged.json.gz").write_bytes(content)
    (tmp_path / "b_good.json.gz").write_bytes(SMALLEST.read_bytes())
    seen: list[Verified] = []
    found = verify([tmp_path], seen.append)
    assert seen == found
    assert [(one.name, one.ok) for one in found] == [("a_damaged", False), ("inceptionnext_atto", True)]
    assert "a_damaged.json.gz" in found[0].message


def test_paths_without_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="no records here"):
        record_files([tmp_path])
    with pytest.raises(NasError, match="no such file or folder"):
        record_files([tmp_path / "missing.json.gz"])
    assert record_files([SMALLEST, RECORDS])[0] == SMALLEST


def test_relative_error() -> None:
    assert relative_error(torch.tensor([[3.0, 4.4]]), [[3.0, 4.0]]) == pytest.approx(0.08)
