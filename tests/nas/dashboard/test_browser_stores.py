"""Every page in a real browser on an empty, a small, a running and a large store: no error, readable, by all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.nas.dashboard.conftest import EVIL, STUDY
from trials.store import Store

pytestmark = pytest.mark.browser


def pages(study: str) -> dict[str, str]:
    """Return every page of a study."""
    return {
        "studies": "/",
        "front": f"/front?study={study}&pick={study}:4",
        "network": f"/network/{study}/12",
        "compare": f"/compare?trial={study}:0&trial={study}:4&trial={study}:12",
        "space": f"/space?study={study}",
        "workers": f"/workers?study={study}",
    }


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")], ids=["light", "dark", "phone"]
)
def test_a_small_store_in_every_look(visit: Callable[..., Any], hostile_once: Path, width: int, scheme: str) -> None:
    window = visit(hostile_once)
    window.look(width, scheme)
    for name, address in pages(STUDY).items():
        page = window.go(address)
        window.drawn()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate("window.evil") is None, name
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        window.shot(f"{name}-{'phone' if width < 600 else scheme}")
        assert window.faults() == [], name
    assert window.wrong == []
    assert all(url.startswith((window.home, "data:", "blob:")) for url in window.requests)


def test_markup_is_shown_as_words_before_and_after_the_scripts(visit: Callable[..., Any], hostile_once: Path) -> None:
    window = visit(hostile_once)
    for address, words in (("/workers", EVIL), (f"/network/{STUDY}/12", EVIL)):
        with window.page.context.browser.new_context(java_script_enabled=False) as context:
            still = context.new_page()
            still.goto(window.home + address)
            assert words in still.locator("#first main").inner_text()
        page = window.go(address)
        assert words in page.locator("#page").inner_text()
        assert page.locator("#first").count() == 0
    page = window.go(f"/network/{STUDY}/4")
    assert page.input_value(".annotation textarea") == EVIL
    assert page.evaluate("window.evil") is None


def test_an_empty_store(visit: Callable[..., Any], empty: Path) -> None:
    window = visit(empty)
    for address in ("/", "/front", "/compare", "/space", "/workers", "/nothing"):
        window.go(address)
        assert window.faults() == [], address
        if address == "/":
            window.shot("studies-empty")
    assert window.wrong == []


def test_a_running_store(visit: Callable[..., Any], filled: Path) -> None:
    with Store.open(filled) as store, store.lease(STUDY):
        window = visit(filled)
        for name, address in (pages(STUDY) | {"network": f"/network/{STUDY}/10"}).items():
            page = window.go(address.replace(":12", ":1"))
            window.drawn()
            words = page.locator("#page").inner_text()
            if name == "studies":
                assert page.locator(".state.running").count() == 1
            if name in ("front", "space", "workers"):
                assert f"{STUDY}: running, 7 of 10 trained" in words
                assert page.locator(".state-line progress").get_attribute("value") == "7"
            if name == "workers":
                assert f"{STUDY}:10" in page.locator("#in-training").inner_text()
            window.shot(f"{name}-running")
        assert window.wrong == []


def test_a_hundred_thousand_trials(visit: Callable[..., Any], large: Path) -> None:
    window = visit(large)
    for name, address in pages("large").items():
        page = window.go(address)
        window.drawn()
        assert page.locator(".notice[role=alert]").count() == 0, name
        window.shot(f"{name}-large")
        if name == "front":
            assert "of 100,000 trained" in page.locator(".state-line").inner_text()
            assert window.faults() == []
    page = window.go("/front?study=large&models=0")
    window.drawn()
    traces = "document.querySelector('#plot-front .js-plotly-plot').data"
    count = f"{traces}.find(trace => trace.name === 'dominated').customdata.length"
    before = page.evaluate(count)
    assert before <= 1000
    box = page.locator("#plot-front .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.3, steps=4)
    page.mouse.up()
    page.wait_for_function(f"() => {count} > {before} + 500", timeout=10_000)
    assert "zoom=" in page.url
    assert window.wrong == []
