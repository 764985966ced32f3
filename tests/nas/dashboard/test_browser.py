"""The dashboard in a real browser: live, linked, reachable by keyboard, true to what a visitor does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nas.dashboard.conftest import STUDY, Visit, again
from trials.store import Store

pytestmark = pytest.mark.browser

FRONT = f"/front?study={STUDY}&models=0"
"""Without named models, which come later and move the picture."""
RANGE = "document.querySelector('#figure-front .js-plotly-plot').layout.xaxis.range"


@pytest.fixture(scope="module")
def alive(filled_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that tests of this module add to."""
    import shutil

    return Path(shutil.copy(filled_once, tmp_path_factory.mktemp("alive") / "store.db"))


@pytest.fixture
def window(visit: Callable[[Path], Visit], alive: Path) -> Iterator[Visit]:
    """A window on it, in which nothing must go wrong."""
    opened = visit(alive)
    yield opened
    assert opened.wrong == []
    opened.page.close()


def complete(path: Path, accuracy: float) -> int:
    """Add a complete trial, as a search does while one looks, and return its number."""
    with Store.open(path) as store:
        rows = store.trials(store.study(STUDY).id)
        # dearer than all others, so that they stay where they are on the front
        return again(store, STUDY, rows[0], {"accuracy": accuracy}, macs=2 * max(row.macs or 0 for row in rows)).number


def redrawn(response: Any) -> bool:
    """Tell whether an answer holds a page; one that changes nothing has no content."""
    return "_dash-update-component" in response.url and response.status == 200


def test_new_trials_appear_by_themselves_and_the_zoom_stays(window: Visit, alive: Path) -> None:
    page = window.go(FRONT)
    window.drawn()
    box = page.locator("#plot-front .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.7, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("zoom="))
    before = page.evaluate(RANGE)
    number = complete(alive, 0.999)
    page.wait_for_selector(f"#page :text('{STUDY}:{number}')", timeout=4000)
    assert page.evaluate(RANGE) == pytest.approx(before)
    page.reload()
    page.wait_for_selector("#page h1")
    window.drawn()
    assert page.evaluate(RANGE) == pytest.approx(before)
    page.dblclick("#plot-front .nsewdrag")
    page.wait_for_function("() => !location.search.includes('zoom=')")
    page.wait_for_function(f"() => Math.abs({RANGE}[0] - {before[0]!r}) > 1e-3")


def test_a_note_half_written_survives_and_is_kept(window: Visit, alive: Path) -> None:
    page = window.go(f"/network/{STUDY}/4", ready=".annotation textarea")
    page.fill(".annotation textarea", "half a tho")
    with page.expect_response(redrawn, timeout=4000):
        complete(alive, 0.5)
    assert page.input_value(".annotation textarea") == "half a tho"
    page.fill(".annotation textarea", "half a thought")
    page.fill(".annotation input:not([type=checkbox])", "good, small")
    page.click(".annotation button")
    page.wait_for_selector(f"text=note of {STUDY}:4 kept")
    with Store.open(alive) as store:
        (note,) = store.annotations(store.study(STUDY).id).values()
    assert (note.note, note.tags, note.hidden) == ("half a thought", ("good", "small"), False)


def test_state_is_in_the_address_and_back_goes_back(window: Visit, alive: Path) -> None:
    page = window.go(FRONT)
    window.drawn()
    page.select_option("select[name=x]", "params")
    page.wait_for_url(re.compile("x=params"))
    page.select_option("select[name=z]", "loss")
    page.wait_for_url(re.compile("z=loss"))
    page.wait_for_selector("#plot-front .gl-container canvas")
    page.go_back()
    page.wait_for_selector("#plot-front .scatterlayer .trace")
    assert "z=" not in page.url
    page.wait_for_function("() => document.querySelector('#plot-front .xtitle').textContent === 'params'")
    page.go_back()
    page.wait_for_function("() => document.querySelector('#plot-front .xtitle').textContent === 'macs'")
    page.get_by_label(f"compare {STUDY}:4", exact=True).check()
    page.get_by_label(f"compare {STUDY}:1", exact=True).check()
    page.get_by_text("Compare 2 networks").click()
    page.wait_for_selector("h1:has-text('Compare')")
    address = page.url
    assert f"trial={STUDY}%3A4" in address
    page.goto(address)
    page.wait_for_selector(f"th:has-text('{STUDY}:4')")


def test_a_click_chooses_and_a_rectangle_filters(window: Visit, alive: Path) -> None:
    page = window.go(FRONT)
    window.drawn()
    dot = page.locator("#plot-front .xy .scatterlayer .trace .points path").first.bounding_box()
    page.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2, steps=3)
    page.wait_for_selector("#plot-front .hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector("aside.picked")
    assert re.search(rf"pick={STUDY}%3A\d+", page.url)
    box = page.locator("#plot-front .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.locator("#plot-front .modebar-btn[data-val=select]").click()
    page.mouse.move(box["x"] + 5, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] * 0.3, steps=4)
    page.mouse.up()
    page.wait_for_selector("h2:has-text('Selected trials')")
    rows = page.locator("#networks tbody tr th a").all_inner_texts()
    assert f"{STUDY}:4" in rows
    assert f"{STUDY}:5" not in rows


def test_the_keyboard_reaches_everything(window: Visit, alive: Path) -> None:
    page = window.go(FRONT)
    seen: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("(document.activeElement.innerText || document.activeElement.id || '').slice(0, 40)"))
    assert seen[0] == "Skip to the page"
    assert any(f"{STUDY}:4" in text for text in seen)
    page.focus("select[name=x]")
    page.keyboard.press("ArrowDown")
    page.wait_for_url(re.compile("x="))
    page.wait_for_function("() => document.querySelector('#plot-front .xtitle').textContent !== 'macs'")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"


def test_the_theme_can_be_chosen_and_figures_follow(window: Visit, alive: Path) -> None:
    page = window.go(FRONT)
    window.drawn()
    colour = "getComputedStyle(document.querySelector('#plot-front .xtitle')).fill"
    light = page.evaluate(colour)
    page.click("#theme")
    page.click("#theme")
    page.wait_for_function(f"() => {colour} !== {json.dumps(light)}")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    page.wait_for_selector("#page h1")
    window.drawn()
    assert page.evaluate(colour) != light
    page.evaluate("localStorage.clear()")


def test_a_server_that_is_gone_is_told(visit: Callable[[Path], Visit], alive: Path) -> None:
    window = visit(alive)
    page = window.go("/")
    page.route("**/pulse", lambda route: route.abort())
    page.wait_for_selector("text=The dashboard does not answer", timeout=4000)
    page.unroute("**/pulse")
    page.wait_for_function("() => document.getElementById('lost').textContent === ''", timeout=4000)
    assert all("Failed to load resource" in words for words in window.wrong)
    page.close()
