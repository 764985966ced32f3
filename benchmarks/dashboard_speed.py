"""How quick the dashboard is on a store of 100,000 trials with 20 epochs each.

Builds such a store (or takes one built before), starts `nas dashboard` on it and measures

  first paint  first-contentful-paint as headless Chromium reports it, where one is installed; the page's words are in
               it. Beside it, when the words and when the trials of the picture are in the document; all from the
               request on, in a browser without a cache, then again
  cold         the first page from a process that has read nothing yet, as the server's time
  warm         the server's time for each interaction: median and worst of several

and, as the peer, the way a report reads a study: every trial as a row (`Store.trials`), then the front.

Where others share the machine, the processor's time is what can be compared.

Run:  python benchmarks/dashboard_speed.py [--store FILE] [--trials 100000] [--epochs 20] [--shots FOLDER]
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dashboard_store import STUDY, build

INTERACTIONS = {
    "pulse (each second)": None,
    "studies": "/",
    "front": f"/front?study={STUDY}",
    "other axes": f"/front?study={STUDY}&x=params&y=loss",
    "three axes": f"/front?study={STUDY}&z=params",
    "three axes, other limit": f"/front?study={STUDY}&z=params&least.accuracy={{value}}",
    "zoom": f"/front?study={STUDY}&zoom=1e9,1e10,0.6,{{value}}",
    "a limit": f"/front?study={STUDY}&most.params={{value}}",
    "a brush": f"/front?study={STUDY}&brush=1e8,1e10,0.6,{{value}}",
    "all trials, a page on": f"/front?study={STUDY}&show=all&page={{count}}",
    "a click": f"/front?study={STUDY}&pick={STUDY}:{{count}}",
    "a network": f"/network/{STUDY}/{{count}}",
    "compare three": f"/compare?trial={STUDY}:{{count}}&trial={STUDY}:1&trial={STUDY}:2",
    "space": f"/space?study={STUDY}",
    "workers, failures": f"/workers?study={STUDY}",
}


def timed(call: Callable[[], object], times: int) -> tuple[float, float, float]:
    """Return the median and the largest wall time of a call, and the median time of the processor, in milliseconds."""
    spans: list[float] = []
    work: list[float] = []
    for _ in range(times):
        start, begun = time.perf_counter(), time.thread_time()
        call()
        spans.append(1e3 * (time.perf_counter() - start))
        work.append(1e3 * (time.thread_time() - begun))
    return statistics.median(spans), max(spans), statistics.median(work)


def measure(store: Path, times: int) -> float:
    """Print the table of interactions, and return the processor's time for the first page in milliseconds."""
    from nas.dashboard.app import create_app
    from nas.dashboard.serving import opened, warm_up

    with opened(store) as queries:
        app = create_app(queries)
        client = app.server.test_client()
        first = f"/front?study={STUDY}"
        cold, _, work_cold = timed(lambda: client.get(first, base_url="http://127.0.0.1"), 1)
        cookie = next(c for c in client._cookies.values() if c.key.startswith("nas_csrf"))
        counter = iter(range(100, 10**6))

        def show(path: str) -> None:
            count = next(counter)
            pathname, _, search = path.format(value=0.7 + count * 1e-4, count=count % 3000).partition("?")
            outputs = [{"id": "page", "property": name} for name in ("tree", "title", "place")]
            body = {
                "output": "..page.tree...page.title...page.place..",
                "outputs": outputs,
                "changedPropIds": ["address.pathname"],
                "inputs": [
                    {"id": "address", "property": "pathname", "value": pathname},
                    {"id": "address", "property": "search", "value": f"?{search}"},
                    {"id": "look", "property": "data", "value": {}},
                    {"id": "pulse", "property": "data", "value": ""},
                ],
            }
            headers = {"X-CSRFToken": cookie.value}
            answer = client.post("/_dash-update-component", json=body, headers=headers, base_url="http://127.0.0.1")
            assert answer.status_code == 200, answer.text
            assert "broke" not in answer.text, answer.text[:300]

        print(f"{'cold: first front':<24}{cold:9.0f} ms, {work_cold:.0f} ms of the processor")
        warm_up(queries)  # as the server does at its start
        for path in (f"/network/{STUDY}/0", f"/space?study={STUDY}"):
            show(path)  # PyTorch is loaded, background work is begun
        while queries.working:
            time.sleep(0.2)
        print(f"{'interaction':<24}{'median':>9}{'worst':>9}{'processor':>11}   ms of server time")
        for name, path in INTERACTIONS.items():
            middle, worst, work = timed(queries.refreshed if path is None else lambda p=path: show(p), times)
            print(f"{name:<24}{middle:9.1f}{worst:9.1f}{work:11.1f}")
        return work_cold


def peer(store: Path) -> float:
    """Return the milliseconds of the processor that reading every trial as a row takes, with the front."""
    from trials.store import Store

    with Store.open(store, read_only=True) as opened:
        row = opened.study(STUDY)

        def read() -> None:
            from nas.front import front_points
            from nas.settings import SearchSettings

            front_points(opened.trials(row.id), SearchSettings.make(**row.config).objectives)

        return timed(read, 1)[2]


WATCH = """
window.seen = {};
new MutationObserver(() => {
  const now = performance.now();
  if (!seen.text && document.querySelector("main h1")) seen.text = now;
  if (!seen.figure && document.querySelector("#plot-front .scatterlayer .trace")) seen.figure = now;
}).observe(document, {childList: true, subtree: true});
"""
"""Notes when the page's words and when the trials of its picture are in the document."""
PAINT = """() => new Promise((done) => new PerformanceObserver((list, observer) => {
  const found = list.getEntriesByName("first-contentful-paint")[0];
  if (found) { observer.disconnect(); done(found.startTime); }
}).observe({type: "paint", buffered: true}))"""


def paint(store: Path, shots: Path | None) -> None:
    """Print what a browser reports of its first visit: to a server just started, and to one that runs."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        print("first paint: no Chromium found, not measured")
        return
    command = [sys.executable, "-m", "nas", "dashboard", "--store", str(store), "--port", "0"]
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        begun = time.perf_counter()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            line = server.stderr.readline()
            home = re.search(r"http://[\d.]+:\d+", line)
            assert home, line
            print(f"{'server':<34}answers {time.perf_counter() - begun:.2f} s after its start")
            print(f"{'visit':<34}{'first paint':>12}{'text':>9}{'figure':>9}   ms, as the browser reports them")
            for words in ("server just started, no cache", "server that runs, no cache"):
                context = browser.new_context(viewport={"width": 1280, "height": 900})
                page = context.new_page()
                page.add_init_script(WATCH)
                for visit in (words, "  and again, with its cache"):
                    page.goto(f"{home[0]}/front?study={STUDY}")
                    page.wait_for_function("() => window.seen.figure", timeout=60_000)
                    seen, first = page.evaluate("window.seen"), page.evaluate(PAINT)
                    print(f"{visit:<34}{first:12.0f}{seen['text']:9.0f}{seen['figure']:9.0f}")
                if shots is not None:
                    page.screenshot(path=str(shots / "large-front.png"))
                context.close()
            server.send_signal(signal.SIGINT)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a store built before; it is not changed")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--shots", type=Path, help="a folder for a screenshot")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nas-speed-") as folder:
        store = options.store or Path(folder) / "large.db"
        if not store.exists():
            start = time.perf_counter()
            build(store, options.trials, options.epochs)
            size = store.stat().st_size / 1e6
            spent = time.perf_counter() - start
            print(f"built {options.trials:,} trials x {options.epochs} epochs in {spent:.0f} s, {size:.0f} MB")
        paint(store, options.shots)
        cold = measure(store, options.times)
        whole = peer(store)
        print(f"peer: every trial as a row, then the front {whole:.0f} ms of the processor")
        print(f"      {whole / cold:.1f} times the cold front")


if __name__ == "__main__":
    sys.exit(main())
