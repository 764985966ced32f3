"""nas space, nas models, nas cost: what a newcomer looks at before searching."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from nas.networks import as_yaml, find_network, read_point
from space import Architecture, DesignSpace, NasError, cost
from space.counting import published_flops
from space.named import model_names, named
from trials.store import Store

RECORDS = Path(__file__).parents[1] / "golden" / "records"


def no_store() -> Store:
    raise AssertionError("a named model or a file needs no store")


def test_check_says_valid_and_how_large(nas) -> None:
    ran = nas("space", "check", "tiny")
    assert (ran.code, ran.err) == (0, "")
    assert "tiny.yaml: valid" in ran.out
    found = json.loads(nas("space", "check", "tiny", "--json").out)
    assert found["points"] == DesignSpace.load("tiny").size().points


def test_size_is_exact_for_small_spaces_and_a_power_for_large_ones(nas) -> None:
    points = DesignSpace.load("tiny").size().points
    assert f"{points:,} points" in nas("space", "size", "tiny").out
    assert "10^" in nas("space", "size", "metaformer").out


def test_samples_are_points_of_the_space_that_read_back(nas, tmp_path: Path) -> None:
    text = nas("space", "sample", "tiny", "--n", 3, "--seed", 5).out
    documents = list(yaml.safe_load_all(text))
    assert len(documents) == 3
    space = DesignSpace.load("tiny")
    for document, told in zip(
        documents, json.loads(nas("space", "sample", "tiny", "--n", 3, "--seed", 5, "--json").out), strict=True
    ):
        file = tmp_path / "net.yaml"
        file.write_text(yaml.safe_dump(document))
        point = read_point(file)
        assert point in space
        assert point.id == told["architecture"]
        assert cost(point, told["resolution"]).params == told["params"]


def test_samples_depend_on_the_seed_alone(nas) -> None:
    first = nas("space", "sample", "metaformer", "--seed", 1).out
    assert first == nas("space", "sample", "metaformer", "--seed", 1).out
    assert first != nas("space", "sample", "metaformer", "--seed", 2).out


def test_the_schema_is_json_that_knows_the_kinds(nas) -> None:
    ran = nas("space", "schema")
    schema = json.loads(ran.out)
    assert ran.err == ""
    assert "depthwise_conv" in json.dumps(schema)


def test_list_names_every_model(nas) -> None:
    found = json.loads(nas("models", "list", "--json").out)
    assert [entry["name"] for entry in found] == model_names()
    tiny = next(entry for entry in found if entry["name"] == "convnext_tiny")
    assert tiny["params"] == 28589128
    assert any(figure["top1"] == 82.1 for figure in tiny["published"])
    lines = nas("models", "list").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == model_names()


def test_show_prints_a_point_that_reads_back_with_figures_and_source(nas, tmp_path: Path) -> None:
    ran = nas("models", "show", "convnext_tiny")
    assert "82.1 %" in ran.out
    assert named("convnext_tiny").source in ran.out
    head, _, text = ran.out.partition("# id ")
    assert "28,589,128 parameters" in head
    file = tmp_path / "shown.yaml"
    file.write_text(f"# id {text}")
    assert read_point(file) == named("convnext_tiny").arch


def test_show_tells_of_what_figures_lack_and_of_another_head(nas) -> None:
    row = next(line for line in nas("models", "show", "hornet_large_7x7").out.splitlines() if "IN-22K" in line)
    assert row.split()[:2] == ["224", "px"]
    assert "  -  209M (10450 classes)  34.8G  " in row
    figure = json.loads(nas("models", "show", "focalnet_huge_fl3", "--json").out)["published"][0]
    assert (figure["params_m"], figure["macs_g"], figure["top1"], figure["classes"]) == (687, None, None, 1000)


def test_cost_of_a_named_model_without_timing(nas) -> None:
    found = json.loads(nas("cost", "convnext_tiny", "--no-latency", "--json").out)
    expected = cost(named("convnext_tiny").arch, 224)
    assert (found["params"], found["macs"], found["activations"]) == expected
    assert found["latency_ms"] is None
    assert found["training_memory_bytes"]["weights_and_optimiser"] == 16 * expected.params
    assert found["training_memory_bytes"]["per_image"] > 4 * 224 * 224 * 3


def test_what_merges_shows_the_cost_of_both_forms(nas) -> None:
    arch = named("unireplknet_a").arch
    before, after = cost(arch), cost(arch.merged())
    for command in (("cost", "unireplknet_a", "--no-latency"), ("models", "show", "unireplknet_a")):
        text, found = nas(*command).out, json.loads(nas(*command, "--json").out)
        for number in (before.params, before.macs, after.params, after.macs):
            assert f"{number:,}" in text
        assert (found["params"], found["macs"], found["activations"]) == before
        assert found["merged"] == after._asdict()
        plain = ["convnext_atto" if word == "unireplknet_a" else word for word in command]
        assert json.loads(nas(*plain, "--json").out)["merged"] is None
        assert "merged" not in nas(*plain).out


def test_figures_say_of_what_they_were_counted(nas) -> None:
    assert "parameters and MACs are those of the merged form" in nas("models", "show", "unireplknet_a").out
    assert "sparse training left, 60 % of them" in nas("models", "show", "slak_tiny").out
    found = json.loads(nas("models", "show", "slak_tiny", "--json").out)
    assert found["published_form"] == "training"
    assert [figure["sparsity"] for figure in found["published"]] == [0.4]
    assert json.loads(nas("models", "show", "unireplknet_a", "--json").out)["published_form"] == "merged"


def test_cost_times_a_trial_of_a_study(nas, filled: Path) -> None:
    ran = nas("cost", "digits-a:4", "--resolution", 32, "--threads", 1, "--store", filled, "--json")
    found = json.loads(ran.out)
    assert ran.err == ""
    assert found["latency_ms"]["median"] > 0
    assert found["latency_ms"]["threads"] == 1
    text = nas("cost", "digits-a:4", "--resolution", 32, "--store", filled).out
    assert f"{found['params']:,}" in text
    assert "latency" in text


def test_cost_times_the_merged_form_and_says_so(nas) -> None:
    words = ("cost", "unireplknet_a", "--resolution", 32)
    assert json.loads(nas(*words, "--json").out)["latency_ms"]["form"] == "merged"
    assert "form merged" in nas(*words).out


def test_figures_stand_beside_those_of_the_published_rule(nas) -> None:
    ruled = published_flops(named("internimage_tiny").arch)
    assert ruled is not None
    for command in (("cost", "internimage_tiny", "--no-latency"), ("models", "show", "internimage_tiny")):
        found = json.loads(nas(*command, "--json").out)
        assert found["published_rule"] == ruled._asdict()
        assert found["macs"] == cost(named("internimage_tiny").arch).macs < ruled.flops
        text = nas(*command).out
        assert f"{ruled.flops:,} FLOPs = MACs + 5 a tap" in text
        assert ruled.source in text
        plain = ["convnext_atto" if word == "internimage_tiny" else word for word in command]
        assert json.loads(nas(*plain, "--json").out)["published_rule"] is None
        assert "FLOPs" not in nas(*plain).out
    assert "counted multiply-accumulates at 224 px" in nas("cost", "convnext_atto", "--no-latency").out


def test_show_tells_how_far_our_count_is_from_the_published(nas) -> None:
    (figure,) = json.loads(nas("models", "show", "vanilla_vmamba_tiny", "--json").out)["published"]
    assert figure["counted"]["flops"] == 3676962816 + 1920737280
    assert figure["counted"]["deviation_percent"] == pytest.approx(100 * (5.5977 / 5.6 - 1), abs=0.001)
    lines = nas("models", "show", "vanilla_vmamba_tiny").out.splitlines()
    assert next(line for line in lines if "top-1" in line).split()[:5] == ["input", "top-1", "params", "FLOPs", "ours"]
    assert "  5.6G  5.598G (-0.0 %)  " in next(line for line in lines if "IN-1K" in line)


def test_memory_grows_with_the_images(nas) -> None:
    def memory(pixels: int) -> int:
        told = nas("cost", "convnext_atto", "--no-latency", "--json", "--resolution", pixels).out
        return json.loads(told)["training_memory_bytes"]["per_image"]

    assert memory(64) * 3 < memory(128) < memory(64) * 5


@pytest.mark.parametrize("name", ["convnext_atto", "poolformer_s12", "caformer_s18"])
def test_a_named_model_survives_the_way_through_a_file(tmp_path: Path, name: str) -> None:
    arch = named(name).arch
    file = tmp_path / "net.yaml"
    file.write_text(as_yaml(arch))
    assert find_network(str(file), no_store).arch == arch
    jsonl = tmp_path / "net.json"
    jsonl.write_text(arch.model_dump_json(exclude_defaults=True))
    assert find_network(str(jsonl), no_store).arch == arch


def test_a_named_model_brings_its_resolution() -> None:
    assert find_network("convnext_tiny", no_store).resolution == 224


def test_a_trial_is_found_in_the_store(filled: Path) -> None:
    with Store.open(filled) as store:
        found = find_network("digits-a:4", lambda: store)
        assert found.trial is not None
        assert found.trial.number == 4
        assert found.arch == Architecture.model_validate_json(found.trial.arch_json)


def test_an_unknown_network_names_the_nearest() -> None:
    with pytest.raises(NasError, match="did you mean 'convnext_tiny'"):
        find_network("convnext_tinny", no_store)


def test_verify_reproduces_a_record_and_counts_failures(nas, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    good = RECORDS / "convnextv2_atto.json.gz"
    (tmp_path / "records" / good.name).write_bytes(good.read_bytes())
    ran = nas("models", "verify", "--golden", tmp_path / "records", "--json")
    (outcome,) = json.loads(ran.out)
    assert ran.code == 0
    assert outcome["ok"]
    assert outcome["error"] <= outcome["limit"]
    assert outcome.keys() == {
        *("name", "ok", "error", "limit", "params", "macs", "seconds", "message"),
        *("merged_error", "merged_params"),
    }
    (tmp_path / "records" / "nonsense.json.gz").write_bytes(b"no record")
    ran = nas("models", "verify", "--golden", tmp_path / "records")
    assert ran.code == 1
    assert [line.split()[0] for line in ran.out.splitlines()] == ["ok", "FAIL"]
