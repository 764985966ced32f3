"""The application without a socket: who is let in, what headers say, what is kept, what can be taken home."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.dashboard.guard import Guard
from nas.dashboard.serving import TOKEN_VARIABLE, place
from space import Architecture
from space.errors import NasError
from tests.nas.dashboard.conftest import EVIL, HOME, STUDY
from trials.store import Store

TOKEN = "a-token-of-some-length"
CALLBACK = "/_dash-update-component"


def show_body(address: str, look: Any = None) -> dict[str, Any]:
    pathname, _, search = address.partition("?")
    values = {("address", "pathname"): pathname, ("address", "search"): f"?{search}", ("look", "data"): look or {}}
    return {
        "output": "..page.tree...page.title...page.place..",
        "outputs": [{"id": "page", "property": name} for name in ("tree", "title", "place")],
        "inputs": [{"id": i, "property": p, "value": v} for (i, p), v in {**values, ("pulse", "data"): ""}.items()],
        "changedPropIds": ["address.pathname"],
    }


def wish_body(**fields: Any) -> dict[str, Any]:
    return {
        "output": "kept.children",
        "outputs": {"id": "kept", "property": "children"},
        "inputs": [{"id": "page", "property": "wish", "value": fields}],
        "changedPropIds": ["page.wish"],
    }


@pytest.fixture
def keeper() -> Guard:
    return Guard()


def test_the_page_comes_from_here_alone(client, filled: Path) -> None:
    answer = client(filled).get("/", base_url=HOME)
    assert answer.status_code == 200
    assert 'lang="en"' in answer.text
    sources = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert sources
    assert all(source.startswith(("/", "#", "data:")) for source in sources)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "'unsafe-inline'" not in scripts
    assert "http" not in policy
    inline = re.findall(r"<script[^>]*>([^<]+)</script>", answer.text)
    runs = [script for script in inline if "DashRenderer" in script]
    assert len(runs) == scripts.count("'sha256-")
    for name, value in {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }.items():
        assert answer.headers[name] == value


def test_every_script_is_served(client, filled: Path) -> None:
    visitor = client(filled)
    page = visitor.get("/", base_url=HOME).text
    for source in re.findall(r'<script src="([^"]+)"', page):
        assert visitor.get(source, base_url=HOME).status_code == 200


def test_another_name_for_this_machine_is_refused(client, filled: Path) -> None:
    assert client(filled).get("/", base_url="http://evil.example").status_code == 421
    assert client(filled).get("/pulse", base_url="http://localhost:9").status_code == 200


def test_what_changes_something_must_come_from_our_page(client, filled: Path, keeper: Guard) -> None:
    visitor = client(filled, keeper)
    body = wish_body(study=STUDY, number=4, note="hello", tags="a, b", hidden=True)

    def send(**headers: str) -> int:
        return visitor.post(CALLBACK, json=body, headers=headers, base_url=HOME).status_code

    assert send() == 403
    assert send(**{"X-CSRFToken": "wrong"}) == 403
    assert send(**{"X-CSRFToken": keeper.csrf, "Origin": "http://evil.example"}) == 403
    assert send(**{"X-CSRFToken": keeper.csrf, "Sec-Fetch-Site": "cross-site"}) == 403
    with Store.open(filled) as store:
        assert store.annotations(store.study(STUDY).id) == {}
    assert send(**{"X-CSRFToken": keeper.csrf, "Origin": HOME}) == 200
    with Store.open(filled) as store:
        (note,) = store.annotations(store.study(STUDY).id).values()
    assert (note.note, note.tags, note.hidden) == ("hello", ("a", "b"), True)


def test_a_senseless_wish_is_refused_in_words(client, filled: Path, keeper: Guard) -> None:
    visitor = client(filled, keeper)
    for wish, words in (({"study": STUDY, "number": 99}, "no trial 99"), ({"study": 3, "number": "x"}, "of no trial")):
        answer = visitor.post(CALLBACK, json=wish_body(**wish), headers={"X-CSRFToken": keeper.csrf}, base_url=HOME)
        assert words in answer.text


def test_elsewhere_a_token_is_needed(client, filled: Path) -> None:
    visitor = client(filled, Guard(TOKEN, 8050))
    for address in ("/", "/pulse", "/table/studies.csv", "/_dash-layout", "/assets/nas.js"):
        assert visitor.get(address, base_url="http://box:8050").status_code == 401
    assert visitor.get("/?token=wrong", base_url="http://box:8050").status_code == 401
    answer = visitor.get(f"/?token={TOKEN}", base_url="http://box:8050")
    cookie = next(c for c in answer.headers.getlist("Set-Cookie") if c.startswith("nas_session_8050="))
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert TOKEN not in answer.text
    assert visitor.get("/pulse", base_url="http://box:8050").status_code == 200


def test_the_token_can_be_typed(client, filled: Path) -> None:
    visitor = client(filled, Guard(TOKEN))
    assert "That is not the token" in visitor.post("/", data={"token": "x"}, base_url="http://box").text
    assert visitor.post("/", data={"token": TOKEN}, base_url="http://box").status_code == 200
    assert visitor.get("/pulse", base_url="http://box").status_code == 200


def test_the_cookie_of_another_run_is_worthless(client, filled: Path) -> None:
    first, second = Guard(TOKEN), Guard(TOKEN)
    visitor = client(filled, second)
    visitor.set_cookie(second.session_cookie, first.session(), domain="box")
    assert visitor.get("/pulse", base_url="http://box").status_code == 401


def test_where_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place("127.0.0.1", 1).token is None
    assert place("::1", 80).url == "http://[::1]:80/"
    made = place("0.0.0.0", 8050)
    assert len(made.token or "") >= 32
    assert made.url == f"http://0.0.0.0:8050/?token={made.token}"
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert place("box.example", 1).token == TOKEN
    monkeypatch.setenv(TOKEN_VARIABLE, "short")
    with pytest.raises(NasError, match="NAS_DASHBOARD_TOKEN: 5 characters, at least 16"):
        place("box.example", 1)


@pytest.mark.parametrize(
    "address",
    [
        "/",
        f"/front?study={STUDY}",
        f"/network/{STUDY}/12",
        "/space",
        "/workers",
        f"/compare?trial={STUDY}:0&trial={STUDY}:12",
    ],
)
def test_pages_travel_as_json(client, hostile: Path, keeper: Guard, address: str) -> None:
    headers = {"X-CSRFToken": keeper.csrf}
    visitor = client(hostile, keeper)
    for look in ({}, {"dark": True, "narrow": True}):
        answer = visitor.post(CALLBACK, json=show_body(address, look), headers=headers, base_url=HOME)
        assert answer.status_code == 200
        page = json.loads(answer.text)["response"]["page"]
        assert page["title"] not in ("Defect", "Cannot show this")
        assert page["tree"]


def test_every_table_can_be_taken_home(client, hostile: Path) -> None:
    visitor = client(hostile)
    for name in (
        f"front.csv?study={STUDY}&show=all",
        f"measurements/{STUDY}/12.csv",
        "causes.csv",
        "workers.csv",
        "studies.csv",
    ):
        answer = visitor.get(f"/table/{name}", base_url=HOME)
        assert answer.status_code == 200, name
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="')
        rows = list(csv.reader(io.StringIO(answer.text)))
        assert len({len(row) for row in rows}) == 1
        assert len(rows) > 1
        again = json.loads(visitor.get(f"/table/{name.replace('.csv', '.json')}", base_url=HOME).text)
        assert len(again) == len(rows) - 1
        assert list(again[0]) == rows[0]
    whole = visitor.get(f"/table/front.json?study={STUDY}&show=all", base_url=HOME).json
    assert {row["trial"] for row in whole} == {f"{STUDY}:{n}" for n in (*range(6), 12)}
    assert max(row["accuracy"] for row in whole) == 0.97


def test_words_that_a_spreadsheet_would_run_are_quoted(client, filled: Path) -> None:
    with Store.open(filled) as store:
        row = store.trial(store.study(STUDY).id, 11)
        store.start_trial(row.id, worker="=HYPERLINK(1)", attempt=1)
        store.finish_trial(row.id, state="failed", reason="@SUM(1)")
    answer = client(filled).get("/table/causes.csv", base_url=HOME)
    assert "\n'@SUM(1)," in answer.text
    assert ",=HYPERLINK" not in client(filled).get("/table/workers.csv", base_url=HOME).text


def test_unknown_tables_and_trials_are_not_found(client, filled: Path) -> None:
    visitor = client(filled)
    for address in ("/table/secrets.csv", "/table/studies.exe", f"/network/{STUDY}/99.yaml", "/network/x/1.yaml"):
        answer = visitor.get(address, base_url=HOME)
        assert answer.status_code == 404
        assert "\n" not in answer.text.strip()


def test_a_network_comes_home_as_the_point_it_is(client, filled: Path) -> None:
    answer = client(filled).get(f"/network/{STUDY}/4.yaml", base_url=HOME)
    with Store.open(filled) as store:
        row = store.trial(store.study(STUDY).id, 4)
    assert Architecture.model_validate(yaml.safe_load(answer.text)).id == row.arch_id


def test_names_of_files_are_plain(client, hostile: Path) -> None:
    answer = client(hostile).get("/table/causes.csv?study=" + STUDY, base_url=HOME)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="causes-{STUDY}.csv"'
    assert EVIL in json.loads(client(hostile).get("/table/causes.json", base_url=HOME).text)[0]["reason"] + EVIL
