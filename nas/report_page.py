"""The page that a report is poured into: markup, style and the few lines of script; no data."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

_LONG = 40
"""Characters from which a cell wraps."""


def figure_block(title: str, index: int, note: str) -> str:
    """Return a section with a place for the figure of that index."""
    return (
        f"<section><h2>{escape(title)}</h2><p>{escape(note)}</p>"
        f'<div class="figure" data-figure="{index}" role="img" aria-label="{escape(title)}"></div></section>'
    )


def table_block(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    """Return a section with a table; its cells are escaped here."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return (
        f"<section><h2>{escape(title)}</h2><p>{escape(note)}</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )


def _cell(text: str) -> str:
    return f'<td class="words">{escape(text)}</td>' if len(text) > _LONG else f"<td>{escape(text)}</td>"


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:">
<title>$title</title>
<style>
:root { --text: #24292f; --faint: #5b636e; --page: #ffffff; --card: #f5f7f9; --line: #e3e6ea; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e8eb; --faint: #9aa3ad; --page: #14171b; --card: #1d2127; --line: #343a43; --accent: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 2px; }
p { margin: 4px 0 12px; color: var(--faint); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px; margin: 20px 0 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tiles b { display: block; font-size: 20px; font-weight: 600; }
.tiles span { color: var(--faint); font-size: 13px; }
.figure { width: 100%; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; background: var(--card); font-weight: 600; font-size: 13px; white-space: nowrap; }
td { white-space: nowrap; }
td.words { white-space: normal; min-width: 320px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 8px 0 16px; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow-x: auto;
      font-size: 13px; }
</style>
</head>
<body>
<main>
<h1>$name</h1>
<p>$lead</p>
<div class="tiles">$tiles</div>
$blocks
<section><h2>How it was made</h2>$about</section>
</main>
<script>$plotly</script>
<script>
const figures = $figures;
const dark = $dark;
const wish = window.matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const narrow = window.innerWidth < 600;
  for (const place of document.querySelectorAll(".figure")) {
    const text = JSON.stringify(figures[Number(place.dataset.figure)]);
    const figure = JSON.parse(text, (key, value) => wish.matches && Object.hasOwn(dark, value) ? dark[value] : value);
    if (narrow) {
      Object.assign(figure.layout, {margin: {l: 44, r: 6, t: 56, b: 48}, height: 420});
      for (const trace of figure.data) if (trace.mode === "markers+text") trace.mode = "markers";
      delete figure.layout.xaxis.dtick;
    }
    Plotly.react(place, figure.data, figure.layout, {responsive: true, displaylogo: false,
      displayModeBar: narrow ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]});
  }
}
wish.addEventListener("change", draw);
draw();
</script>
</body>
</html>
""")
