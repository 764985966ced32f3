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
from space.build import on_meta, parameters
from space.counting import counted
from space.errors import NasError
from space.named import load_published, named

RECORDS = Path(__file__).parents[1] / "golden" / "records"
COUNTED = (
    *("focalnet_large_fl4", "focalnet_tiny_lrf", "focalnet_tiny_srf", "focalnet_tiny_srf_timm"),
    *("hornet_tiny_7x7", "moganet_small", "van_b2"),
)
"""Records whose outputs are left to `nas models verify`: others of their families are compared here."""
SHORTENED = {
    "replknet_31b": "float32",
    "slak_tiny": "float32",
    "convnext_tiny_31_29_27_13": "float32",
    "unireplknet_t": "float64",
}
"""Records that take long in full, as `nas models verify` takes them: here one image, where that will do in 32 bits."""
FILES = sorted(path for path in RECORDS.glob("*.json.gz") if path.name.partition(".")[0] not in {*COUNTED, *SHORTENED})
SMALLEST = RECORDS / "inceptionnext_atto.json.gz"
MERGED = RECORDS / "unireplknet_a.json.gz"


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
    assert found.error < (1e-9 if found.limit == 1e-6 else 1e-6)
    assert found.message == (
        "timm layout" if path.name.endswith("_timm.json.gz") or path.name.startswith("swin") else "authors layout"
    )


@pytest.mark.parametrize("name", COUNTED)
def test_the_others_have_the_published_keys_and_counts(name: str) -> None:
    record, network = read_record(RECORDS / f"{name}.json.gz"), on_meta(named(name).arch)
    state = {key: torch.empty(shape, device="meta") for key, shape in record.state.items()}
    assert load_published(network, name, state) == ("timm" if name.endswith("_timm") else "authors")
    assert parameters(network) == record.params
    assert counted(network, (1, *record.input_size)).cost.macs == record.macs


def test_filters_of_whole_maps_are_exact_in_double_precision(tmp_path: Path) -> None:
    """The published code takes Fourier transforms in single precision; the record also holds what it does without."""
    record = json.loads(gzip.decompress((RECORDS / "hornet_tiny_gf.json.gz").read_bytes()))
    exact = record | {"dtype": "float64", "logits": record["extra"]["float64_without_cast"]["logits"]}
    path = tmp_path / "exact.json.gz"
    path.write_bytes(gzip.compress(json.dumps(exact).encode()))
    found = verify_file(path)
    assert found.ok, found.message
    assert found.error is not None
    assert found.error < 1e-9


@pytest.mark.parametrize(("name", "dtype"), SHORTENED.items())
def test_reproduces_large_ones_on_one_image(tmp_path: Path, name: str, dtype: str) -> None:
    record = _content(RECORDS / f"{name}.json.gz")
    merged = record["extra"].get("reparameterized")
    if merged:
        merged["logits"] = merged["logits"][:1]
    found = verify_file(_written(tmp_path, record | {"dtype": dtype, "logits": record["logits"][:1]}))
    limit = 1e-9 if dtype == "float64" else 1e-5
    assert found.ok, found.message
    assert found.error is not None
    assert found.error < limit
    assert (found.merged_error is not None) == bool(merged)
    assert found.merged_error is None or found.merged_error < limit


def _content(path: Path) -> dict[str, Any]:
    return json.loads(gzip.decompress(path.read_bytes()))


def _written(folder: Path, record: dict[str, Any]) -> Path:
    path = folder / "altered.json.gz"
    path.write_bytes(gzip.compress(json.dumps(record).encode(), compresslevel=1))
    return path


@pytest.fixture
def altered(tmp_path: Path) -> Callable[..., Path]:
    """Write the smallest record with some fields changed."""
    return lambda **changes: _written(tmp_path, _content(SMALLEST) | changes)


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
    logits = _content(SMALLEST)["logits"]
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


def _other_key(merged: dict[str, Any]) -> None:
    merged["state"]["stages.0.0.dwconv.offset"] = merged["state"].pop("stages.0.0.dwconv.bias")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda merged: merged.update(params=1), "4437300 parameters after merging, the record has 1"),
        (lambda merged: merged.update(logits=[[0.5] * 1000]), "after merging, the limit is 1e-06"),
        (lambda merged: merged["state"].update({"stages.0.0.gamma": [40]}), "1 keys unexpected (stages.0.0.gamma)"),
        (lambda merged: merged["state"].update({"head.weight": [10, 320]}), "head.weight: [10, 320]"),
        (_other_key, "1 keys missing (stages.0.0.dwconv.bias)"),
        (lambda merged: merged.pop("logits"), "extra.reparameterized: logits"),
        (lambda merged: merged.clear(), "extra.reparameterized: params"),
    ],
)
def test_what_does_not_agree_after_merging_is_told(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    record = _content(MERGED)
    record |= {"input_size": [3, 32, 32], "logits": record["logits"][:1]}  # faster, and wrong before merging too
    change(record["extra"]["reparameterized"])
    found = verify_file(_written(tmp_path, record))
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
