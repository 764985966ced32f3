"""Fixtures for the dashboard: stores to look at, the application without a socket, a browser."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
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
from trials.measurement import METRICS, Measured
from trials.rows import Annotation, TrialRow
from trials.store import Store

STUDY = "digits-a"
EVIL = "</script><script>window.evil=1</script><img src=x onerror=window.evil=1><b onclick=window.evil=1>{{x}}</b>"
HOME = "http://127.0.0.1"
GENERATOR = Path(__file__).parents[3] / "benchmarks" / "dashboard_store.py"


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


def again(store: Store, study: str, like: TrialRow, values: Mapping[str, float], **changes: Any) -> TrialRow:
    """Add a trial of the same network as another, and end it with these values, as a search does while one looks."""
    fields: dict[str, Any] = {"params": like.params, "macs": like.macs, "choices": {}, "sampler": "tpe", "seed": 1}
    fields |= {"arch_id": like.arch_id, "arch_json": like.arch_json, "state": "queued"}
    worker, evaluator = changes.pop("worker", "w"), changes.pop("evaluator", "train")
    row = store.add_trial(store.study(study).id, **(fields | changes))
    store.start_trial(row.id, worker=worker, attempt=1)
    measured = {name: Measured(value, METRICS[name].unit) for name, value in values.items()}
    store.finish_trial(row.id, state="complete", measurements=measured, evaluator=evaluator)
    return row


def made_hostile(path: Path) -> Path:
    """Put markup into every stored text that a trial, a worker, a note or a study can have."""
    with Store.open(path) as store:
        study = store.study(STUDY)
        row = store.trial(study.id, 11)
        store.start_trial(row.id, worker=EVIL, attempt=1)
        store.add_epoch(row.id, attempt=1, epoch=1, metrics={EVIL[:90]: 0.5, "accuracy": 0.5})
        store.finish_trial(row.id, state="failed", reason=EVIL)
        best = store.trial(study.id, 4)
        store.annotate(best.id, Annotation(EVIL, (EVIL[:60],)))
        added = again(
            store,
            STUDY,
            best,
            {"accuracy": 0.97},
            choices={EVIL: EVIL, "stages[0].width": 16},
            sampler=EVIL,
            origin=EVIL,
            worker=EVIL,
            evaluator=EVIL,
            extra={"description": EVIL, "parents": [4]},
        )
        odd = {EVIL[:90]: Measured(1.0, EVIL, circumstances={EVIL: EVIL})}
        store.add_measurements(best.arch_id, odd, trial_id=added.id, evaluator=EVIL)
    return path


@pytest.fixture
def hostile(filled: Path) -> Path:
    """The filled store with markup in every stored text."""
    return made_hostile(filled)


@pytest.fixture(scope="session")
def hostile_once(filled_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the whole session; nobody writes to it."""
    return made_hostile(Path(shutil.copy(filled_once, tmp_path_factory.mktemp("hostile") / "store.db")))


@pytest.fixture
def overlaid(filled: Path) -> Path:
    """The filled store with a second study to draw over the first."""
    with Store.open(filled) as store:
        settings = SearchSettings.make(study="digits-b", space="tiny", budget=3, train_as="full")
        space = DesignSpace.load("tiny")
        config = settings.model_dump(mode="json")
        store.create_study("digits-b", space=space.text, config=config, code_version="0", data_fingerprint="f")
        for number in (0, 3):
            like = store.trial(store.study(STUDY).id, number)
            again(store, "digits-b", like, {"accuracy": 0.5 + number / 10})
    return filled


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 100,000 trials with 20 epochs each, made by the benchmark's generator."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("dashboard_store", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    generator = module_from_spec(spec)
    spec.loader.exec_module(generator)
    path = tmp_path_factory.mktemp("large") / "large.db"
    generator.build(path, 100_000, 20, space="tiny", architectures=60)
    return path


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

    def __init__(self, page: Any, home: str, shots: Path | None) -> None:
        self.page, self.home, self._shots = page, home, shots
        self.wrong: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.wrong.append(message.text)

    def look(self, width: int, scheme: Any) -> None:
        """Change the size of the window and the colours that the system asks for."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)

    def go(self, address: str, *, ready: str = "#page h1") -> Any:
        """Open an address and wait until its page is alive, not only there to read."""
        self.page.goto(self.home + address)
        self.page.wait_for_selector(ready, timeout=30_000)
        return self.page

    def drawn(self) -> Any:
        """Wait until every figure on the page has its traces."""
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('#page .figure')].every(f => f.querySelector('.main-svg'))",
            timeout=30_000,
        )
        return self.page

    def shot(self, name: str) -> None:
        """Keep a picture of the whole page where somebody asked for pictures."""
        if self._shots is not None:
            self.page.screenshot(path=str(self._shots / f"{name}.png"), full_page=True)

    def faults(self) -> list[str]:
        """Return the serious findings of the accessibility checker."""
        if not self.page.evaluate("Boolean(window.axe)"):
            # injected as a debugger would, past the page's policy
            self.page.evaluate(_axe())
        return self.page.evaluate(_FAULTS)


@cache
def _axe() -> str:
    """Return the accessibility checker, which its package carries."""
    import axe_playwright_python

    (source,) = Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")
    return source.read_text(encoding="utf-8")


_FAULTS = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 150) + " -- " + n.failureSummary).join(" | "));
}"""


@pytest.fixture(scope="module")
def visit(browser: Any) -> Iterator[Callable[[Path], Visit]]:
    """Serve a store, once a module, and open a window on it; all windows share what they have fetched.

    Pictures go to the folder that NAS_SCREENSHOTS names; without one, none is taken.
    """
    from waitress.server import create_server

    folder = os.environ.get("NAS_SCREENSHOTS")
    shots = Path(folder) if folder else None
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
    homes: dict[Path, str] = {}
    with ExitStack() as stack:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
        stack.callback(context.close)

        def make(path: Path) -> Visit:
            if path not in homes:
                app = create_app(stack.enter_context(opened(path)))
                server: Any = create_server(app.server, host="127.0.0.1", port=0, threads=4)
                threading.Thread(target=server.run, daemon=True).start()
                stack.callback(server.close)
                homes[path] = f"{HOME}:{server.effective_port}"
            return Visit(context.new_page(), homes[path], shots)

        yield make
