"""Accesses that no kernel may make are reported, each by a kernel that makes one."""

import ctypes
import importlib.util
from pathlib import Path

import pytest
import torch

from ops.proof import MemoryFault, interpreted
from ops.proof.traffic import Traffic

spec = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
planted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(planted)


def _copy(size, *, block=8, shift=0, room=0, x=None):
    with interpreted() as run:
        x = run.guarded(torch.arange(float(size))) if x is None else x
        y = torch.empty(size)
        planted.copied[(-(-size // block),)](x, y, size, block, shift, room)
    return y, run


def test_a_copy_within_bounds_passes_and_is_counted():
    y, run = _copy(13)
    assert torch.equal(y, torch.arange(13.0))
    assert run.traffic.of("load").requested == run.traffic.of("store").requested == 52
    assert run.traffic.of("load")[1:] == (64, 64)


@pytest.mark.parametrize(
    ("shift", "room", "words"),
    [
        (1, 0, "out-of-bounds load by program 2: x, element 13 of 13, 1 lanes"),
        (-1, 0, "out-of-bounds load by program 1: x, element -1 of 13, 1 lanes"),
        (-1, 1, "out-of-bounds load by program 1: x, element -1 of 13"),
    ],
)
def test_reads_outside_of_an_argument_are_reported(shift, room, words):
    with pytest.raises(MemoryFault, match=words):
        _copy(13, shift=shift, room=room)


def test_writes_outside_of_an_argument_are_reported():
    with pytest.raises(MemoryFault, match="out-of-bounds store by program 2: y, element 13 of 13"):
        _copy(13, room=1, x=torch.zeros(20))


def test_the_gaps_of_a_strided_tensor_are_not_its_elements():
    with pytest.raises(MemoryFault, match="out-of-bounds load by program 1: x, element 1 of 25"):
        _copy(13, x=torch.zeros(26)[::2])


def test_a_neighbouring_tensor_is_outside():
    whole = torch.zeros(26)
    with pytest.raises(MemoryFault, match="out-of-bounds load"):
        _copy(13, room=1, x=whole[:13])


@pytest.mark.parametrize("place", [-1, 52, 55])
def test_a_changed_canary_is_reported(place):
    words = r"1 bytes beside the elements of a buffer \(13,\) torch.float32 have changed"
    with pytest.raises(MemoryFault, match=words), interpreted():
        y = torch.empty(13)
        ctypes.memset(y.data_ptr() + place, 1, 1)


def test_canaries_lie_around_inputs_zeros_and_in_gaps():
    for make in (lambda run: run.guarded(torch.ones(4, 2)[:, 0]), lambda run: torch.zeros(4, 2)):
        with pytest.raises(MemoryFault, match="beside the elements"), interpreted() as run:
            made = make(run)
            ctypes.memset(made.data_ptr() + (4 if made.stride(0) == 2 and made.ndim == 1 else 32), 1, 1)


def test_what_is_never_written_is_nan():
    with interpreted():
        for made in (torch.empty(3), torch.empty_like(torch.ones(3)), torch.ones(2).new_empty(3, dtype=torch.bfloat16)):
            assert made.isnan().all()
        assert torch.equal(torch.zeros_like(torch.ones(3)), torch.tensor([0.0, 0.0, 0.0]))


def test_masked_lanes_without_a_value_are_nan():
    x, y = torch.ones(8), torch.zeros(1)
    with interpreted():
        planted.unmasked[(1,)](x, y, 7, 8)
    assert y.isnan().all()


@pytest.mark.parametrize("reverse", [False, True])
def test_programs_that_write_the_same_place_are_reported(reverse):
    x, y = torch.ones(64), torch.zeros(64)
    words = "race: store by program 2: y, met by another program"
    with pytest.raises(MemoryFault, match=words), interpreted(reverse=reverse):
        planted.overlapping[(3,)](x, y, 16)


def test_a_program_that_reads_what_another_writes_is_reported():
    x = torch.ones(16)
    with pytest.raises(MemoryFault, match="race"), interpreted():
        planted.copied[(2,)](x, x, 15, 8, 1, 0)


def test_what_a_program_has_written_comes_from_its_cache():
    with interpreted() as run:
        x, y = run.guarded(torch.ones(32)), torch.zeros(32)
        planted.summed_in_place[(2,)](x, y, 8)
    assert y.tolist() == 2 * (8 * [2.0] + 8 * [1.0])
    # x is asked for twice; of y a program's cache holds half
    assert run.traffic.of("load") == (4 * (32 + 32 + 32), 4 * (32 + 16), 4 * (32 + 16))
    assert run.traffic.of("store") == (4 * (16 + 32), 4 * 32, 4 * 32)


def test_sectors_count_once_a_program_and_once_a_launch():
    traffic, places = Traffic(), torch.arange(16).numpy() * 4
    for launch in range(2):
        traffic.launch()
        for _ in range(3):
            traffic.program()
            traffic.see("load", places, 4)
            traffic.see("load", places, 4)
        traffic.see("store", places[:1], 4)
        assert traffic.of("load") == tuple((launch + 1) * n for n in (384, 192, 64))
    assert traffic.of().over(64) == ((768 + 8) / 64, (384 + 64) / 64, (128 + 64) / 64)
