"""The first answer holds the page: its words as HTML, its figures as values, for the look that the visitor had."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from dash import dcc, html

from nas.dashboard.components import Check, Pick
from nas.dashboard.first_page import LOOK_COOKIE, PLOTLY
from nas.dashboard.markup import markup
from nas.dashboard.queries import Queries
from tests.nas.dashboard.conftest import EVIL, HOME, STUDY


def inside(page: str) -> dict[str, Any]:
    """Return the values that came with a page."""
    (found,) = re.findall(r'<script id="first-page" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def test_the_words_and_the_figures_come_with_the_first_answer(client, filled: Path) -> None:
    page = client(filled).get(f"/front?study={STUDY}", base_url=HOME).text
    (words,) = re.findall(r'<div id="first">(.*?)</main>', page, re.DOTALL)
    assert f"<h1>{STUDY}</h1>" in words
    assert f'href="/network/{STUDY}/4"' in words
    assert " id=" not in words  # those of the page that takes its place
    values = inside(page)
    assert (values["place"], values["search"], values["title"]) == ("/front", f"?study={STUDY}", f"{STUDY} front")
    graphs = re.findall(r'"plot-front"', json.dumps(values["tree"]))
    assert len(graphs) == 1
    assert f"<title>{STUDY} front - nas</title>" in page
    assert f'<script id="plotly" async src="{PLOTLY}">' in page


def test_a_page_without_figures_fetches_no_plotly(client, filled: Path) -> None:
    assert PLOTLY not in client(filled).get(f"/workers?study={STUDY}", base_url=HOME).text


def test_the_look_of_the_last_visit_is_guessed(client, filled: Path) -> None:
    visitor = client(filled)
    assert "data-theme" not in visitor.get("/", base_url=HOME).text
    visitor.set_cookie(LOOK_COOKIE, "dark-narrow", domain="127.0.0.1")
    page = visitor.get(f"/front?study={STUDY}", base_url=HOME).text
    assert '<html lang="en" data-theme="dark">' in page
    assert inside(page)["look"] == {"dark": True, "narrow": True}
    visitor.set_cookie(LOOK_COOKIE, '"><script>', domain="127.0.0.1")
    assert inside(visitor.get("/", base_url=HOME).text)["look"] == {"dark": False, "narrow": False}


def test_stored_markup_cannot_leave_its_place(client, hostile_once: Path) -> None:
    visitor = client(hostile_once)
    for address in (f"/network/{STUDY}/12", f"/network/{STUDY}/4", "/workers", f"/front?study={STUDY}&pick={STUDY}:12"):
        page = visitor.get(address, base_url=HOME).text
        assert "<script>window.evil" not in page
        assert "<img src=x" not in page
        assert "<b onclick" not in page
        assert inside(page)["tree"]
    assert EVIL in json.dumps(inside(visitor.get("/workers", base_url=HOME).text)["tree"], ensure_ascii=False).replace(
        "\\", ""
    )


def test_what_stands_in_a_page_is_no_place_of_the_template(client, filled: Path) -> None:
    page = client(filled).get("/%7B%25config%25%7D", base_url=HOME).text
    assert page.count('id="_dash-config"') == 1
    assert "There is no page" in page


def test_controls_stand_where_they_will_be() -> None:
    options = [{"value": "a", "label": "<A>"}, {"value": "b", "label": "B"}]
    made = markup(
        html.Div(
            [
                Pick(label="axis", field="x", options=options, value="a", default=""),
                Check(label="log", field="logx", value="1", checked=True),
                dcc.Link("there", href='/x?a=1&b="', className="button"),
                html.Details([html.Summary("more"), None, 3], open=True),
            ],
            id="gone",
        )
    )
    assert made == (
        '<div><label class="control"><span>axis</span><select disabled><option>&lt;A&gt;</option></select></label>'
        '<label class="control check"><input type="checkbox" disabled checked><span>log</span></label>'
        '<a href="/x?a=1&amp;b=&quot;" class="button">there</a><details open><summary>more</summary>3</details></div>'
    )


@pytest.mark.parametrize("path", ["/", "/assets/nas.css", "/assets/nas.js", PLOTLY])
def test_answers_are_packed_for_those_who_take_it(client, filled: Path, path: str) -> None:
    visitor = client(filled)
    plain = visitor.get(path, base_url=HOME)
    assert "Content-Encoding" not in plain.headers
    for _ in range(2):
        packed = visitor.get(path, base_url=HOME, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Vary"] == "Accept-Encoding"
        assert len(packed.data) < 0.5 * len(plain.data)
        if path != "/":
            assert gzip.decompress(packed.data) == plain.data


def test_an_answer_that_came_with_the_page_is_not_given_twice(client, filled: Path, look_at) -> None:
    from nas.dashboard.guard import Guard
    from tests.nas.dashboard.test_guard import CALLBACK, show_body

    keeper = Guard()
    visitor = client(filled, keeper)
    word = inside(visitor.get("/", base_url=HOME).text)["pulse"]
    queries: Queries = look_at(filled)
    assert queries.pulse().split("-")[0] == word.split("-")[0]

    def asked(triggered: list[str], shown: str) -> int:
        body = show_body("/", {"dark": False, "narrow": False, "shown": shown}) | {"changedPropIds": triggered}
        body["inputs"][-1]["value"] = word
        return visitor.post(CALLBACK, json=body, headers={"X-CSRFToken": keeper.csrf}, base_url=HOME).status_code

    assert asked(["look.data"], word) == 204
    assert asked(["look.data"], "older") == 200
    assert asked(["address.search"], word) == 200
    assert asked(["pulse.data"], word) == 200
