"""What the compiler says of planted kernels is reported, and the limits refuse them."""

import importlib.util
from pathlib import Path

import pytest

from ops.kernel import CONVOLUTION, REGISTER_TILED, STREAMING, Configuration
from ops.proof.ahead_of_time import Resources, broken, compiled, digest

spec = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
planted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(planted)


def _spilling(side):
    return Configuration(
        "spilling",
        planted.spilling,
        {"x": "*fp32", "y": "*fp32", "size": "i32"},
        {"SIDE": side},
        STREAMING,
        num_warps=1,
    )


@pytest.mark.parametrize(("target", "side"), [("sm_90", 8192), ("gfx942", 32768)])
def test_a_configuration_that_spills_is_reported(target, side):
    found = compiled(_spilling(side), target)
    assert found.spill_bytes > 0
    words = " and ".join(broken(_spilling(side), target, found))
    assert f"{found.spill_bytes} bytes spilled, allowed: 0" in words


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100", "gfx942"])
def test_what_fits_is_read_from_the_machine_code(target):
    found = compiled(_spilling(256), target)
    assert found.spill_bytes == 0
    assert broken(_spilling(256), target, found) == []
    assert 8 < found.registers < 64
    assert found.products >= 4
    assert found.matrix == 0
    assert found.vector_share(128) == 1
    assert found.loads >= 2
    assert 0 < found.occupancy <= 100


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100", "gfx942"])
def test_tensor_cores_are_seen(target):
    types = dict.fromkeys("abc", "*bf16")
    constants = {"SIDE": 64, "PRECISION": "ieee"}
    found = compiled(Configuration("product", planted.product, types, constants, CONVOLUTION), target)
    assert found.matrix > 0
    assert found.shared_bytes > 0


def _resources(**told):
    fine = {
        "registers": 100, "spill_bytes": 0, "shared_bytes": 0, "occupancy": 50, "products": 70, "matrix": 0,
        "moved": {128: 20}, "loads": 10, "instructions": 1000,
    }  # fmt: skip
    return Resources(**fine | told)


@pytest.mark.parametrize(
    ("limits", "told", "target", "words"),
    [
        (STREAMING, {}, "sm_90", []),
        (STREAMING, {"registers": 129}, "sm_90", ["129 registers, allowed: 128"]),
        (STREAMING, {"registers": 129}, "gfx942", []),
        (STREAMING, {"registers": 257}, "gfx942", ["257 registers, allowed: 256"]),
        (REGISTER_TILED, {"registers": 168}, "sm_80", []),
        (CONVOLUTION, {}, "sm_80", []),
        (CONVOLUTION, {"products": 69}, "sm_80", ["69 products for 10 loads, allowed: 7 a load, or tensor cores"]),
        (CONVOLUTION, {"products": 0, "matrix": 1}, "sm_80", []),
        (STREAMING, {"moved": {128: 1, 32: 12}}, "sm_80", ["25% of bytes in 128 bits, allowed: 33% or more"]),
        (STREAMING, {"spill_bytes": 8}, "sm_80", ["8 bytes spilled, allowed: 0"]),
    ],
)
def test_limits_refuse_what_breaks_them(limits, told, target, words):
    configuration = Configuration("any", None, {}, {}, limits)
    assert broken(configuration, target, _resources(**told)) == words


def test_a_digest_names_source_options_and_target():
    known = {digest(_spilling(256), target) for target in ("sm_80", "sm_90")}
    known |= {digest(_spilling(512), "sm_80")}
    scan = {"x": "*fp32", "a": "*fp32", "y": "*fp32"}
    first = Configuration("scan", planted.recurrence, scan, {"SIDE": 16}, STREAMING)
    known |= {digest(first, "sm_80")}
    assert len(known) == 4
    assert digest(_spilling(256), "sm_80") in known
    join, source = planted._join, planted._join._src
    try:
        join._unsafe_update_src(source.replace("b * c + d", "b * c - d"))
        assert digest(first, "sm_80") not in known
    finally:
        join._unsafe_update_src(source)
    assert digest(first, "sm_80") in known
