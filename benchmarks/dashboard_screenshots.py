"""Take the pictures of the dashboard that the documentation shows, from a real study.

Run:  python benchmarks/dashboard_screenshots.py STUDY [--store FILE] [--to nas/dashboard/screenshots]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

LARGEST = 150_000
"""Bytes of a picture that a repository can carry for ever."""


def pictures(study: str, best: list[int]) -> dict[str, tuple[str, str, int, int]]:
    """Return name -> (address, scheme, width, height)."""
    first = best[0]
    compared = "&".join(f"trial={study}:{number}" for number in best[:3])
    return {
        "front": (f"/front?study={study}&pick={study}:{first}", "light", 1280, 1080),
        "network": (f"/network/{study}/{first}", "light", 1280, 900),
        "space": (f"/space?study={study}", "dark", 1280, 1100),
        "compare": (f"/compare?{compared}", "light", 1280, 900),
    }


def take(page: Any, home: str, address: str, out: Path) -> None:
    """Keep one picture, its colours reduced to a palette."""
    from PIL import Image

    page.goto(home + address)
    page.wait_for_selector("#page h1")
    page.wait_for_function("() => !document.body.innerText.includes('Working it out')", timeout=60_000)
    page.wait_for_timeout(4000)
    page.screenshot(path=str(out))
    with Image.open(out) as picture:
        picture.convert("RGB").quantize(colors=128, dither=Image.Dither.NONE).save(out, optimize=True)
    size = out.stat().st_size
    print(f"{out}: {size / 1e3:.0f} kB")
    if size > LARGEST:
        sys.exit(f"{out}: {size} bytes, allowed: {LARGEST}")


def main() -> None:
    from playwright.sync_api import sync_playwright
    from waitress.server import create_server

    from nas.dashboard.app import create_app
    from nas.dashboard.serving import opened
    from nas.front import front_points

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--store")
    parser.add_argument("--to", type=Path, default=Path("nas/dashboard/screenshots"))
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    with opened(options.store) as queries, sync_playwright() as playwright:
        queries.store.url = Path(queries.store.url).name  # the folder is of no interest to readers
        frame = queries.frame(options.study)
        best = [point.trial for point in front_points(queries.store.trials(frame.row.id), frame.objectives)]
        server: Any = create_server(create_app(queries).server, host="127.0.0.1", port=0, threads=6)
        threading.Thread(target=server.run, daemon=True).start()
        home = f"http://127.0.0.1:{server.effective_port}"
        program = shutil.which("chromium") or shutil.which("google-chrome")
        flags = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        for name, (address, scheme, width, height) in pictures(options.study, best).items():
            size: Any = {"width": width, "height": height}
            look: Any = scheme
            page = browser.new_context(viewport=size, color_scheme=look).new_page()
            take(page, home, address, options.to / f"{name}.png")
        browser.close()
        server.close()


if __name__ == "__main__":
    main()
