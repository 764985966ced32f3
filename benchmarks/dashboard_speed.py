"""How quick the dashboard is on a store of 100,000 trials with 20 epochs each.

Builds such a store (or takes one built before), starts the application on it and measures

  cold         the first page from a process that has read nothing yet, as the server's time
  first paint  from the request to the drawn front in headless Chromium, where one is installed
  warm         the server's time for each interaction: median and worst of several

and, as the peer, the way a report reads a study: every trial as a row (`Store.trials`), then the front.

Where others share the machine, the processor's time is what can be compared.

Run:  python benchmarks/dashboard_speed.py [--store FILE] [--trials 100000] [--epochs 20] [--shots FOLDER]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

STUDY = "large"
STATES = (("complete", 0.70), ("stopped", 0.10), ("infeasible", 0.12), ("failed", 0.05), ("duplicate", 0.03))
ARCHITECTURES = 400


def build(path: Path, trials: int, epochs: int) -> None:
    """Write the store: numbers that look like a search's, networks of the bundled space."""
    from nas.settings import SearchSettings
    from space import DesignSpace, cost, describe
    from trials.store import Store

    space, rng = DesignSpace.load("metaformer"), random.Random(0)
    points: list[tuple[str, str, int, int, str, str]] = []
    while len(points) < ARCHITECTURES:
        arch = space.sample(rng)
        if len(arch.stages) < 4:
            continue
        counts = cost(arch, 224)
        extra = json.dumps({"description": describe(arch), "activations": counts.activations})
        text, choices = arch.model_dump_json(exclude_defaults=True), json.dumps(dict(space.encode(arch)))
        points.append((arch.id, text, counts.params, counts.macs, choices, extra))
    settings = SearchSettings.make(study=STUDY, space="metaformer", budget=trials, cost_resolution=224)
    with Store.open(path) as store:
        study = store.create_study(
            STUDY,
            space=space.text,
            config=settings.model_dump(mode="json"),
            code_version="0",
            data_fingerprint="0" * 16,
        )
    database = sqlite3.connect(path)
    database.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-200000;")
    now = datetime.now(UTC).replace(tzinfo=None)
    database.executemany(
        "INSERT OR IGNORE INTO architecture (id, json, params, macs, created) VALUES (?,?,?,?,?)",
        [(p[0], p[1], p[2], p[3], str(now)) for p in points],
    )
    rows = list(_trials(study.id, trials, epochs, points, rng, now))
    database.executemany(f"INSERT INTO trial ({_TRIAL}) VALUES ({','.join('?' * 19)})", [row for row, _ in rows])
    database.executemany(f"INSERT INTO measurement ({_MEASURED}) VALUES ({','.join('?' * 13)})", _measured(rows, now))
    database.executemany(
        "INSERT INTO epoch_metric (trial_id, epoch, metric, value, attempt, created) VALUES (?,?,?,?,1,?)",
        _epochs(rows, epochs, now),
    )
    database.execute("UPDATE study SET trial_count=?", (trials,))
    database.commit()
    database.execute("ANALYZE")
    database.close()


_TRIAL = (
    "id, study_id, number, state, attempt, reason, seed, sampler, arch_id, params, macs, choices, started, finished, "
    "worker, epochs, extra, created, duplicate_of"
)
_MEASURED = (
    "key, trial_id, arch_id, metric, value, unit, spread, device, circumstances, evaluator, version, seed, created"
)


def _trials(study: int, count: int, epochs: int, points: list[Any], rng: random.Random, now: datetime) -> Iterator[Any]:
    states, weights = zip(*STATES, strict=True)
    for number in range(count):
        arch_id, _, params, macs, choices, extra = points[rng.randrange(len(points))]
        state = rng.choices(states, weights)[0] if number else "complete"
        reason = {
            "infeasible": f"params {rng.randrange(10**7, 10**9):,} > 5,000,000",
            "failed": f"training: loss is nan in epoch {rng.randrange(1, 20)}",
            "duplicate": f"same network as trial {rng.randrange(max(number, 1))}",
        }.get(state)
        trained = state in ("complete", "stopped", "failed")
        begun = now - timedelta(seconds=count - number)
        factor = rng.lognormvariate(0, 0.5)
        accuracy = 0.9 - 0.5 / (1 + macs * factor / 3e8) - rng.expovariate(20)
        row = (
            number + 1, study, number, state, int(trained), reason, number, "tpe", arch_id, int(params * factor),
            int(macs * factor), choices, str(begun) if trained else None, str(begun + timedelta(seconds=30)),
            f"vm:{number % 8}" if trained else None, epochs if trained else 0, extra, str(begun), None,
        )  # fmt: skip
        yield row, accuracy


def _measured(rows: list[Any], now: datetime) -> Iterator[Any]:
    circumstances = json.dumps({"device": "cpu", "split": "validation", "epochs": 20})
    for row, accuracy in rows:
        if row[3] in ("complete", "stopped"):
            for metric, value, unit in (("accuracy", accuracy, "ratio"), ("loss", 2 - accuracy, "nats")):
                yield (
                    f"{row[0]:x}-{metric[0]}", row[0], row[8], metric, value, unit, None, "cpu", circumstances, "train",
                    1, 0, str(now),
                )  # fmt: skip


def _epochs(rows: list[Any], epochs: int, now: datetime) -> Iterator[Any]:
    moment = str(now)
    for row, accuracy in rows:
        for epoch in range(1, row[15] + 1):
            yield row[0], epoch, "accuracy", accuracy * epoch / epochs, moment
            yield row[0], epoch, "loss", 3.0 / epoch, moment


INTERACTIONS = {
    "pulse (each second)": None,
    "studies": "/",
    "front": f"/front?study={STUDY}",
    "other axes": f"/front?study={STUDY}&x=params&y=loss",
    "three axes": f"/front?study={STUDY}&z=params",
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
    from nas.dashboard.serving import opened

    with opened(store) as queries:
        app = create_app(queries)
        client = app.server.test_client()
        client.get("/", base_url="http://127.0.0.1")
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

        cold, _, work_cold = timed(lambda: show(f"/front?study={STUDY}"), 1)
        print(f"{'cold: first front':<24}{cold:9.0f} ms, {work_cold:.0f} ms of the processor")
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


def paint(store: Path, shots: Path | None) -> None:
    """Print the time from the request to the drawn front in a browser, from a server that has read nothing."""
    from playwright.sync_api import sync_playwright
    from waitress.server import create_server

    from nas.dashboard.app import create_app
    from nas.dashboard.serving import opened

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        print("first paint: no Chromium found, not measured")
        return
    with opened(store) as queries, sync_playwright() as playwright:
        server = create_server(create_app(queries).server, host="127.0.0.1", port=0, threads=6)
        threading.Thread(target=server.run, daemon=True).start()
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        page: Any = None
        for words in ("server that has read nothing", "server that has read the study"):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            start = time.perf_counter()
            page.goto(f"http://127.0.0.1:{server.effective_port}/front?study={STUDY}")
            page.wait_for_selector("main h1")
            told = time.perf_counter() - start
            page.wait_for_selector("#plot-front .scatterlayer .trace")
            drawn = time.perf_counter() - start
            print(f"first paint in Chromium, {words}: page {told:.2f} s, figure {drawn:.2f} s")
        if shots is not None:
            page.wait_for_timeout(1500)
            page.screenshot(path=str(shots / "large-front.png"))
        browser.close()
        server.close()


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
