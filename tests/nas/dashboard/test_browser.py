"""The dashboard in a real browser: pages without an error, live, linked, reachable by keyboard, readable by all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.nas.dashboard.conftest import EVIL, STUDY
from trials.measurement import Measured
from trials.store import Store

pytestmark = pytest.mark.browser

PAGES = {
    "studies": "/",
    "front": f"/front?study={STUDY}&pick={STUDY}:4",
    "network": f"/network/{STUDY}/12",
    "compare": f"/compare?trial={STUDY}:0&trial={STUDY}:4&trial={STUDY}:12",
    "space": f"/space?study={STUDY}",
    "workers": f"/workers?study={STUDY}",
}
AXE = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 150) + " -- " + n.failureSummary).join(" | "));
}"""


def axe() -> str:
    """Return the accessibility checker, which its package carries."""
    import axe_playwright_python

    (source,) = Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")
    return source.read_text(encoding="utf-8")


def complete(store: Store, accuracy: float, macs: int = 10_000) -> int:
    """Add a complete trial, as a search does while one looks."""
    study = store.study(STUDY)
    like = store.trial(study.id, 0)
    row = store.add_trial(
        study.id,
        state="queued",
        arch_id=like.arch_id,
        arch_json=like.arch_json,
        params=like.params,
        macs=macs,
        choices={},
        seed=1,
        sampler="tpe",
    )
    store.start_trial(row.id, worker="w", attempt=1)
    store.finish_trial(row.id, state="complete", measurements={"accuracy": Measured(accuracy, "ratio")})
    return row.number


def drawn(page: Any) -> None:
    """Wait until every figure on the page has its traces."""
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('.figure')];"
        " return all.every(f => f.querySelector('.main-svg, .gl-container')); }",
        timeout=30_000,
    )


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")], ids=["light", "dark", "phone"]
)
def test_every_page_in_every_look(visit: Callable[..., Any], hostile: Path, width: int, scheme: str) -> None:
    window = visit(hostile, width=width, scheme=scheme)
    for name, address in PAGES.items():
        page = window.go(address)
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate("window.evil") is None, name
        window.shot(f"{name}-{'phone' if width < 600 else scheme}")
        # the checker is injected as a debugger would, past the page's policy
        page.evaluate(axe())
        assert page.evaluate(AXE) == [], name
    assert window.wrong == []
    assert all(url.startswith((window.home, "data:", "blob:")) for url in window.requests)


@pytest.mark.parametrize("address", ["/", "/front", "/compare", "/space", "/workers", "/nothing"])
def test_every_page_of_an_empty_store(visit: Callable[..., Any], empty: Path, address: str) -> None:
    window = visit(empty)
    window.go(address)
    window.page.evaluate(axe())
    assert window.page.evaluate(AXE) == []
    assert window.wrong == []


def test_markup_is_shown_as_words(visit: Callable[..., Any], hostile: Path) -> None:
    window = visit(hostile)
    page = window.go("/workers")
    assert EVIL in page.locator("main").inner_text()
    page = window.go(f"/network/{STUDY}/12")
    assert EVIL in page.locator("main").inner_text()
    page = window.go(f"/network/{STUDY}/4")
    assert page.input_value(".annotation textarea") == EVIL
    assert page.evaluate("window.evil") is None


def test_new_trials_appear_by_themselves_and_the_zoom_stays(visit: Callable[..., Any], filled: Path) -> None:
    window = visit(filled)
    page = window.go(f"/front?study={STUDY}")
    drawn(page)
    page.wait_for_timeout(1500)
    box = page.locator("#plot-front .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.7, steps=4)
    page.mouse.up()
    ranges = "JSON.stringify(document.querySelector('#figure-front .js-plotly-plot').layout.xaxis.range)"
    page.wait_for_timeout(300)
    before = page.evaluate(ranges)
    with Store.open(filled) as store:
        number = complete(store, 0.999)
    page.wait_for_selector(f"text={STUDY}:{number}", timeout=4000)
    assert page.evaluate(ranges) == before
    page.dblclick("#plot-front .nsewdrag")
    page.wait_for_timeout(600)
    assert page.evaluate(ranges) != before
    assert window.wrong == []


def test_a_note_half_written_survives_and_is_kept(visit: Callable[..., Any], filled: Path) -> None:
    window = visit(filled)
    page = window.go(f"/network/{STUDY}/4", ready=".annotation textarea")
    page.fill(".annotation textarea", "half a tho")
    with Store.open(filled) as store:
        complete(store, 0.5)
    page.wait_for_timeout(2200)
    assert page.input_value(".annotation textarea") == "half a tho"
    page.fill(".annotation textarea", "half a thought")
    page.fill(".annotation input:not([type=checkbox])", "good, small")
    page.click(".annotation button")
    page.wait_for_selector(f"text=note of {STUDY}:4 kept")
    with Store.open(filled) as store:
        (note,) = store.annotations(store.study(STUDY).id).values()
    assert (note.note, note.tags, note.hidden) == ("half a thought", ("good", "small"), False)


def test_state_is_in_the_address_and_back_goes_back(visit: Callable[..., Any], filled: Path) -> None:
    window = visit(filled)
    page = window.go(f"/front?study={STUDY}")
    drawn(page)
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
    assert window.wrong == []


def test_a_click_chooses_and_a_rectangle_filters(visit: Callable[..., Any], filled: Path) -> None:
    window = visit(filled)
    page = window.go(f"/front?study={STUDY}")
    drawn(page)
    page.wait_for_timeout(1500)  # named models come later, and move the plot
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
    rows = page.locator("#networks tbody tr th").all_inner_texts()
    assert f"{STUDY}:4" in rows
    assert f"{STUDY}:5" not in rows
    assert window.wrong == []


def test_the_keyboard_reaches_everything(visit: Callable[..., Any], filled: Path) -> None:
    window = visit(filled)
    page = window.go(f"/front?study={STUDY}")
    seen: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("(document.activeElement.innerText || document.activeElement.id || '').slice(0, 40)"))
    assert seen[0] == "Skip to the page"
    assert any(f"{STUDY}:4" in text for text in seen)
    page.focus("select[name=x]")
    page.keyboard.press("ArrowDown")
    page.wait_for_url(re.compile("x="))
    page.wait_for_timeout(500)
    assert page.evaluate("document.activeElement.tagName") == "SELECT"


def test_the_theme_can_be_chosen_and_figures_follow(visit: Callable[..., Any], filled: Path) -> None:
    window = visit(filled)
    page = window.go(f"/front?study={STUDY}")
    drawn(page)
    colour = "getComputedStyle(document.querySelector('#plot-front .xtitle')).fill"
    light = page.evaluate(colour)
    page.click("#theme")
    page.click("#theme")
    page.wait_for_function(f"() => {colour} !== {json.dumps(light)}")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_server_that_is_gone_is_told(visit: Callable[..., Any], filled: Path) -> None:
    window = visit(filled)
    page = window.go("/")
    page.route("**/pulse", lambda route: route.abort())
    page.wait_for_selector("text=The dashboard does not answer", timeout=4000)
    page.unroute("**/pulse")
    page.wait_for_function("() => document.getElementById('lost').textContent === ''", timeout=4000)
