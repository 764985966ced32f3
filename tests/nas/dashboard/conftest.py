"""Fixtures for the dashboard: stores to look at, the application without a socket, a browser."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nas.dashboard.address import Address
from nas.dashboard.app import create_app, drawn
from nas.dashboard.guard import Guard
from nas.dashboard.queries import Queries
from nas.dashboard.serving import opened
from nas.dashboard.view import Look, Page, View
from nas.settings import SearchSettings
from space import DesignSpace
from trials.rows import Annotation
from trials.store import Store

STUDY = "digits-a"
EVIL = "</script><script>window.evil=1</script><img src=x onerror=window.evil=1><b onclick=window.evil=1>{{x}}</b>"
HOME = "http://127.0.0.1"


def words_of(node: Any) -> str:
    """Return all text of a tree of elements."""
    if node is None or isinstance(node, (str, int, float)):
        return "" if node is None else str(node)
    if isinstance(node, (list, tuple)):
        return " ".join(words_of(each) for each in node)
    parts = [getattr(node, "children", None), getattr(node, "label", None), getattr(node, "text", None)]
    return " ".join(words_of(part) for part in parts if part is not None)


def found(node: Any, kind: str) -> list[Any]:
    """Return the elements of a type in a tree."""
    if isinstance(node, (list, tuple)):
        return [each for item in node for each in found(item, kind)]
    if not hasattr(node, "to_plotly_json"):
        return []
    mine = [node] if type(node).__name__ == kind else []
    return mine + found(getattr(node, "children", None), kind)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A store without studies."""
    Store.open(tmp_path / "empty.db").close()
    return tmp_path / "empty.db"


@pytest.fixture
def hostile(filled: Path) -> Path:
    """The filled store with markup in every stored text that a trial, a worker, a note or a study can have."""
    with Store.open(filled) as store:
        study = store.study(STUDY)
        row = store.trial(study.id, 11)
        store.start_trial(row.id, worker=EVIL, attempt=1)
        store.add_epoch(row.id, attempt=1, epoch=1, metrics={EVIL[:90]: 0.5, "accuracy": 0.5})
        store.finish_trial(row.id, state="failed", reason=EVIL)
        best = store.trial(study.id, 4)
        store.annotate(best.id, Annotation(EVIL, (EVIL[:60],)))
        added = store.add_trial(
            study.id,
            state="queued",
            arch_id=best.arch_id,
            arch_json=best.arch_json,
            params=best.params,
            macs=best.macs,
            choices={EVIL: EVIL, "stages[0].width": 16},
            seed=1,
            sampler=EVIL,
            origin=EVIL,
            extra={"description": EVIL},
        )
        store.start_trial(added.id, worker=EVIL, attempt=1)
        from trials.measurement import Measured

        values = {"accuracy": Measured(0.97, "ratio"), EVIL[:90]: Measured(1.0, EVIL, circumstances={EVIL: EVIL})}
        store.finish_trial(added.id, state="complete", measurements=values, evaluator=EVIL)
    return filled


@pytest.fixture
def large(filled: Path) -> Path:
    """The filled store with a second study to draw over the first."""
    with Store.open(filled) as store:
        settings = SearchSettings.make(study="digits-b", space="tiny", budget=3, train_as="full")
        space = DesignSpace.load("tiny")
        config = settings.model_dump(mode="json")
        study = store.create_study("digits-b", space=space.text, config=config, code_version="0", data_fingerprint="f")
        for number in (0, 3):
            row = store.trial(store.study(STUDY).id, number)
            again = store.add_trial(
                study.id,
                state="queued",
                arch_id=row.arch_id,
                arch_json=row.arch_json,
                params=row.params,
                macs=row.macs,
                choices={},
                seed=1,
                sampler="tpe",
            )
            store.start_trial(again.id, worker="w", attempt=1)
            from trials.measurement import Measured

            store.finish_trial(
                again.id, state="complete", measurements={"accuracy": Measured(0.5 + number / 10, "ratio")}
            )
    return filled


@pytest.fixture
def look_at() -> Iterator[Callable[..., Queries]]:
    """Open stores for looking, and close them afterwards."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(opened(path))


@pytest.fixture
def show(look_at: Callable[..., Queries]) -> Callable[..., Page]:
    """Draw the page of an address on a store."""

    def draw(path: Path, address: str, **look: bool) -> Page:
        pathname, _, search = address.partition("?")
        return drawn(View(look_at(path), Address.parse(pathname, search), Look(**look)))

    return draw


@pytest.fixture
def client(look_at: Callable[..., Queries]) -> Callable[..., Any]:
    """The application on a store, without a socket."""

    def make(path: Path, keeper: Guard | None = None) -> Any:
        return create_app(look_at(path), keeper).server.test_client()

    return make


# -- the browser


def _program() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    reason = "no Chromium is installed"
    if os.environ.get("NAS_REQUIRE_BROWSER") == "1":
        pytest.fail(f"NAS_REQUIRE_BROWSER=1 but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium for all tests."""
    program = _program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


class Visit:
    """A browser window on a served store; collects what goes wrong."""

    def __init__(self, page: Any, home: str, shots: Path) -> None:
        self.page, self.home, self._shots = page, home, shots
        self.wrong: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.wrong.append(message.text)

    def go(self, address: str, *, ready: str = "main h1") -> Any:
        """Open an address and wait until it is drawn."""
        self.page.goto(self.home + address)
        self.page.wait_for_selector(ready, timeout=30_000)
        return self.page

    def shot(self, name: str) -> Path:
        """Keep a picture of the whole page."""
        path = self._shots / f"{name}.png"
        self.page.screenshot(path=str(path), full_page=True)
        return path


@pytest.fixture
def visit(browser: Any, look_at: Callable[..., Queries], tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """Serve a store and open a window on it; pictures go to the folder that NAS_SCREENSHOTS names."""
    from waitress.server import create_server

    shots = Path(os.environ.get("NAS_SCREENSHOTS") or tmp_path / "shots")
    shots.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def make(path: Path, *, width: int = 1280, height: int = 900, scheme: Any = "light") -> Visit:
            server: Any = create_server(create_app(look_at(path)).server, host="127.0.0.1", port=0, threads=4)
            threading.Thread(target=server.run, daemon=True).start()
            stack.callback(server.close)
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            stack.callback(context.close)
            return Visit(context.new_page(), f"{HOME}:{server.effective_port}", shots)

        yield make
