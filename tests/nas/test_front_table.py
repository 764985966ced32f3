"""The front's table: units of metrics."""

from __future__ import annotations

import pytest

from nas.front_table import unit_of


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("accuracy", "ratio"),
        ("test_accuracy", "ratio"),
        ("validation_accuracy", "ratio"),
        ("train_loss", "nats"),
        ("latency_ms", "ms"),
        ("lr", ""),
        ("test_lr", ""),
    ],
)
def test_units_do_not_depend_on_the_part_of_the_data(metric: str, unit: str) -> None:
    assert unit_of(metric) == unit
