"""How a drawing becomes a piece of the page: small inline SVG with a title and a description, under a caption.

Decides what of matplotlib's output is kept: shapes and text, one decimal, colours as CSS variables; no
prologue, name spaces, fonts or dates. Never draws. Same drawing, same bytes: ids come from the
figure's name, which also keeps them apart on the page.
"""

from __future__ import annotations

import hashlib
import io
import re
from html import escape

import matplotlib
from matplotlib.figure import Figure

from .canvas import RC, VARIABLES, WIDTH_PT


def nothing(title: str, why: str = "not recorded") -> str:
    """What stands where a figure cannot be drawn."""
    return f'<p class="none" role="note">{escape(title)}: {escape(why)}.</p>'


def framed(name: str, note: str, drawing: str, key: str = "") -> str:
    """A drawing under its caption: whose it is, what the colours mean (``key``, HTML), what it shows."""
    caption = f"<figcaption><b>{escape(name)}</b> {key}<span>{escape(note)}</span></figcaption>"
    return f"<figure>{caption}{drawing}</figure>"


def key(*entries: tuple[str, str, str]) -> str:
    """Names of what is drawn, in its colour: (colour variable, "area", "line" or "dot", text)."""
    return "".join(
        f'<span class="key {kind}" style="color:var(--{colour})"><i></i>{escape(text)}</span> '
        for colour, kind, text in entries
    )


def svg(figure: Figure, name: str, title: str, text: str) -> str:
    """The figure as inline SVG with a title and a description; ``name`` keeps its ids apart from other figures'."""
    buffer = io.StringIO()
    salt = "f" + hashlib.sha256(name.encode()).hexdigest()[:6]
    with matplotlib.rc_context({**RC, "svg.hashsalt": salt, "svg.id": None}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _shrink(buffer.getvalue(), salt, title, text)


def _shrink(source: str, salt: str, title: str, text: str) -> str:
    """Only the drawing: no prologue, no name spaces, no fonts, one decimal, colours as variables."""
    body = source[source.index("<g id=") : source.rindex("</svg>")]
    height = re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', source)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font: (?:(\d+|bold) )?([\d.]+)px [^;\"]*", _font, body)
    body = re.sub(r"font-family: [^;\"]*; ", "", body)
    body = re.sub(r' transform="rotate\(-0[^"]*"', "", body)
    body = re.sub(
        r'style="[^"]*"|-?\d+\.\d{2,}',
        lambda m: m[0] if m[0][0] == "s" else f"{float(m[0]):.1f}".removesuffix(".0"),
        body,
    )
    body = re.sub(r"\s*\n\s*", " ", body)
    # After M, coordinates are lines anyway; paths with curves keep their letters.
    body = re.sub(r' d="[^"CQ]*"', lambda m: m[0].replace(" L ", " ").replace(' "', '"'), body)
    body = re.sub(r"> <", "><", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    body = re.sub(r'<path d="[^"]*" style="fill: none"/>', "", body)  # frames without a line
    for _ in range(3):
        body = re.sub(r"<g/>|<g>\s*</g>|<defs/>|<defs>\s*</defs>", "", body)
    body = re.sub(r'(id="|"#|url\(#)(?=[mp])', rf"\g<1>{salt}", body)
    high = height[1] if height else "200"
    return (
        f'<svg viewBox="0 0 {WIDTH_PT:g} {float(high):g}" role="img" aria-labelledby="{salt}t {salt}d">'
        f'<title id="{salt}t">{escape(title)}</title><desc id="{salt}d">{escape(text)}</desc>{body}</svg>'
    )


def _font(match: re.Match[str]) -> str:
    return f"font-size: {match[2]}px" + ("; font-weight: 600" if match[1] else "")
