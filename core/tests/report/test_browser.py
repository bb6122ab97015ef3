"""The page in a real browser (Chromium, where it is installed).

On a desktop and a phone, light and dark, without a network.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ftp import report
from ftp.advise import write
from ftp.advise.question import Question
from ftp.advise.types import (
    Advice,
    Curve,
    Entry,
    Facts,
    Finding,
    Looks,
    Metric,
    Outcome,
    Point,
    Recommendation,
    Tried,
)

from .folders import make

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
LOOK = """
<script>
const wide = document.documentElement.clientWidth, inside = element => element.closest(".wide") !== null;
const shown = [...document.querySelectorAll("main *")].filter(one => one.getClientRects().length && !inside(one));
const box = one => one.getBoundingClientRect();
const overlaps = [];
for (const svg of document.querySelectorAll("svg")) {
  const texts = [...svg.querySelectorAll("text")].map(one => [one.textContent, box(one)]);
  for (const [i, [a, one]] of texts.entries()) for (const [b, other] of texts.slice(i + 1))
    if (one.left < other.right - 1 && other.left < one.right - 1 && one.top < other.bottom - 2 && other.top < one.bottom - 2)
      overlaps.push([svg.getAttribute("aria-label"), a, b]);
}
const clipped = [...document.querySelectorAll("svg text")].filter(one => {
  const [text, svg] = [box(one), box(one.closest("svg"))];
  return text.left < svg.left - 1 || text.right > svg.right + 1 || text.bottom > svg.bottom + 1 || text.top < svg.top - 1; });
const letters = [...document.querySelectorAll("svg text")].map(one => box(one).height);
const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => (v /= 255) <= .03928 ? v / 12.92 :
  ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
const style = (one, what) => getComputedStyle(one)[what];
const paper = one => { for (; one; one = one.parentElement) { const c = style(one, "backgroundColor");
  if (!/, 0\\)$/.test(c) && c.startsWith("rgb")) return c; } return "rgb(255, 255, 255)"; };
const contrast = one => { const a = light(style(one, one instanceof SVGElement ? "fill" : "color")), b = light(paper(one));
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); };
const texts = [...document.querySelectorAll("p, td, th, dt, dd, .level, code, svg text, summary, figcaption")]
  .filter(one => one.getClientRects().length && one.textContent.trim());
document.documentElement.dataset.seen = JSON.stringify({
  width: document.documentElement.scrollWidth, window: wide,
  outside: shown.filter(one => box(one).right > wide + 1 || box(one).left < -1).map(one => one.outerHTML.slice(0, 80)),
  overlaps, clipped: clipped.map(one => one.textContent), smallest: Math.min(...letters),
  requests: performance.getEntriesByType("resource").map(one => one.name),
  faint: texts.filter(one => contrast(one) < 4.5).map(one => [contrast(one), one.outerHTML.slice(0, 120)]),
  back: style(document.body, "backgroundColor"),
});
</script>
"""
"""Measures the page, after it is laid out, and writes what it saw into an attribute of the page."""


NAMES, WIDTHS = ("run", "large", "beside", "advice"), (1280, 390)


def advice_page() -> str:
    """The page of an advice with long names and all its parts."""
    metric = Metric("macro_f1_of_classes", "max", "the first that such a run shows")
    words = "a-method-of-somebody (rank 64, alpha 128, learning_rate 0.0003), a-model-with-a-long-name"
    points = tuple(Point(rows, 0.6 + rows / 1000, 0.03) for rows in (40, 80, 160))
    curve = Curve("untuned, linear head", points, 0.9, 2.0, 0.5, draws=((0.9, 2.0, 0.5), (0.8, 1.5, 0.4)))
    outcome = Outcome("untuned, linear head", np.arange(9), np.zeros(9), scores={metric.name: 0.76})
    looks = Looks(metric, {outcome.entry: outcome}, outcome.entry, curve=curve)
    tried = [
        Tried(words, 0.81234, rows=1_600, seconds=4_000.0),
        Tried("lora", 0.7, 0.112, -0.3, 0.345, 800, 61.0, "macro_f1_of_classes 0.112 (0.07 to 0.15) behind full"),
        Tried("full, class_weight", left="not tried: no time for it"),
    ]
    made = Recommendation(
        "train", f"Train '{words}': it is better than the others.", metric, Entry(words, ("lora", "classify")), 0.8, 0.7, 0.9,
        4_000.0, 2 * 10**9, ("an NVIDIA A100 (80 GB): at most 20 s, 148 MB of memory",) * 2, ("a reason " * 20,),
        tuple(tried), ("more time: " + ", ".join(["'full, class_weight'"] * 9),),
    )  # fmt: skip
    findings = (
        Finding("stop", "leakage", "12 rows leak", "ftp data clean advice/x/run.toml --out advice/x/clean"),
        Finding("warn", "long rows", "word" * 60),
    )
    facts = Facts("labelled", "labels", {"text": "review_body"}, {"train": 1_500}, {"good": 900, "bad": 600}, findings=findings)
    question = Question("a-folder/of-somebody/rows-with-a-name-that-is-not-easily-broken.csv")
    return write.page(cast(Any, SimpleNamespace(question=question)), Advice(question, facts, looks, made, 600.0))


def look(pages: dict[str, str], dark: bool, home: Path) -> dict[str, Any]:
    """What a browser sees of pages, each in frames of both widths.

    Frames, as the window of a browser cannot be as narrow as a phone.
    """
    assert CHROMIUM is not None
    frames = []
    for name, text in pages.items():
        for width in WIDTHS:
            style = f"width: {width}px; height: 900px; border: 0"
            html = escape(text)
            frames.append(f'<iframe id="{name}-{width}" style="{style}" srcdoc="{html}"></iframe>')
    collect = """<script>addEventListener("load", () => { document.body.dataset.seen = JSON.stringify(Object.fromEntries(
      [...document.querySelectorAll("iframe")].map(frame => [frame.id, frame.contentDocument.documentElement.dataset.seen])))
    })</script>"""
    outer = home.with_suffix(".html")
    outer.write_text(
        f'<!doctype html><html style="color-scheme: light dark"><body>{"".join(frames)}{collect}</body></html>'
    )
    words = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={home}",
        "--host-rules=MAP * 127.0.0.1:9",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--dump-dom",
        outer.as_uri(),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'<body[^>]* data-seen="([^"]*)"', done.stdout)
    assert match is not None, done.stdout[-500:] + done.stderr[-500:]
    measured = json.loads(unescape(match[1]))
    return {frame: json.loads(text) for frame, text in measured.items()}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A run, a long one of many classes, and two side by side, everything folded out, with the
    measuring at the end."""
    folder = tmp_path_factory.mktemp("pages")
    run, large = (
        make(folder / "run"),
        make(folder / "a-run-with-a-long-name-that-is-not-easily-broken", classes=12, steps=6000),
    )
    pages = {}
    for name, folders in {"run": [run], "large": [large], "beside": [run, large]}.items():
        html = report.make(folders).replace("<details", "<details open")
        pages[name] = html.replace("</body>", LOOK + "</body>")
    pages["advice"] = advice_page().replace("</body>", LOOK + "</body>")
    return {mode: look(pages, mode == "dark", folder / mode) for mode in ("light", "dark")}


@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here; test_page.py holds the page to its structure"
)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_it_can_be_read(name: str, width: int, mode: str, seen: dict[str, dict[str, Any]]) -> None:
    page = seen[mode][f"{name}-{width}"]
    assert page["window"] == width
    assert page["width"] <= width and not page["outside"], "the page is wider than the window"
    assert not page["overlaps"], "letters on letters"
    assert not page["clipped"], "letters outside of their picture"
    assert page["smallest"] >= 9, "letters in pictures are too small"
    assert not page["requests"]
    assert not page["faint"], "letters too much like the paper (WCAG 2.2, 1.4.3)"
    assert page["back"] == ("rgb(20, 23, 27)" if mode == "dark" else "rgb(255, 255, 255)")


FAULTS = {
    "outside": ("<main>", '<main><p style="width: 2000px">wide</p>'),
    "overlaps": ("</svg>", '<text x="60" y="184">letters</text></svg>'),
    "clipped": ("</svg>", '<text x="-20" y="20">x</text></svg>'),
    "faint": ("<main>", '<main><p style="color: #888888; background: #777777">faint</p>'),
}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_what_looks_bad_is_seen(tmp_path: Path) -> None:
    text = report.make([make(tmp_path / "run")]).replace("</body>", LOOK + "</body>")
    pages = {name: text.replace(old, new, 1) for name, (old, new) in FAULTS.items()}
    seen = look(pages, False, tmp_path / "home")
    for name in FAULTS:
        faults = {fault for fault in FAULTS if seen[f"{name}-390"][fault]}
        assert faults == {name}
