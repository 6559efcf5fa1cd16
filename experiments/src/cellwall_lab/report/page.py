"""The report's page: sentences, figures and tables in reading order, in one file that needs nothing else.

Decides order and headings. Computes no number and draws nothing (`view`, `story`, `figures` do). The page
holds no script and refers to no other file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

from . import answer, distributions, figures, story, tables
from .embed import nothing
from .style import CSS
from .view import ArmView, RunView

OPEN_LONG = "<b>Customers are open-loop</b>: requests arrive whether or not earlier ones were answered."
CLOSED_LONG = "<b>Renewals are closed-loop</b>: a storage server asks again only after its last answer or time-out."
OPEN, CLOSED = "<b>Open-loop</b> (customers).", "<b>Closed-loop</b> (renewals)."
SHADES = (
    '<p class="note"><span class="key"><i style="background:var(--cut)"></i>fault on</span>'
    '<span class="key"><i style="background:var(--paused);opacity:.35"></i>renewals paused</span>'
    '<span class="key line"><i style="background:var(--ink);height:3px"></i>judged window</span>'
    '<span class="key line"><i style="background:var(--hair)"></i>a phase begins (upright)</span>'
    '<span class="key"><b style="color:var(--out)">✕</b> adding capacity failed</span>'
    '<span class="key"><b style="color:var(--ok)">✓</b> was done</span>'
    '<span class="key"><b style="color:var(--paused)">‖</b> pause</span>'
    '<span class="key"><b style="color:var(--paused)">▸</b> resume</span></p>'
)


def page(run: RunView) -> str:
    """The whole document."""
    body = "".join(
        [
            _head(run),
            _section("What happened", story.lede(run), story.chapters(run)),
            _section(
                "Arms side by side",
                f"{OPEN_LONG} {CLOSED_LONG} Figures in captions: the judged window.",
                SHADES,
                _grid(run, figures.outage),
            ),
            _predicted(run),
            _section(
                "Where it stayed: cell by cell",
                f"{CLOSED} The darker, the more of the cell's servers were out.",
                _grid(run, figures.cells),
            ),
            _section(
                "Renewals asked and answered",
                f"{CLOSED} Where the line leaves the plot, attempts found the network cut or the door shut.",
                _grid(run, figures.renewals),
            ),
            _section("Queue at the metadata service", f"{CLOSED} Sampled every second.", _grid(run, figures.queue)),
            _section("Runbook, step by step", "Times count from the end of the cut.", tables.steps(run)),
            _section(
                "Membership size against the time limit",
                f"{CLOSED} One dot a renewal; ticks on top: servers that got none.",
                _grid(run, distributions.sizes),
            ),
            _section("CPU of the metadata service", f"{CLOSED} Share of each cell's limit.", _grid(run, figures.cpu)),
            _section("Customers, one by one", f"{OPEN} Judged window.", _grid(run, distributions.customers)),
            _section("Claims", "Held, broken or unknown; times in evidence as on the axes.", tables.claims(run)),
            _section("Where this comes from", "", tables.provenance(run)),
        ]
    )
    return share_styles(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(run.title)} · Cellwall</title><style>{CSS}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _head(run: RunView) -> str:
    """Question, answer, outcomes, and all arms on one scale."""
    tone, sign = tables.tone(run.outcome), tables.SIGNS[tables.tone(run.outcome)]
    chips = [f'<li><span class="chip whole {tone}">{sign} {escape(run.outcome)}</span></li>']
    chips += [
        f'<li><a class="chip" href="#{tables.anchor(arm.name)}">{escape(arm.name)} {tables.mark(arm.outcome)}</a></li>'
        for arm in run.verdicts
    ]
    question = f'<p class="question">{escape(run.question)}</p>' if run.question else ""
    return (
        f'<header><p class="over">{escape(run.experiment)} · {escape(run.backend)} · seed {run.seed}</p>'
        f'<h1>{escape(run.title)}</h1>{question}<p class="answer">{escape(answer.answer(run))}</p>'
        f'<ul class="chips">{"".join(chips)}</ul></header>'
        f'<div class="glance">{distributions.arms(run.arms)}{tables.glance(run)}</div>'
    )


def _section(title: str, note: str, *parts: str) -> str:
    lede = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{lede}{''.join(parts)}</section>"


def _grid(run: RunView, draw: Callable[[ArmView], str]) -> str:
    return _panels([draw(view) for view in run.arms]) if run.arms else nothing("Arms")


def _panels(drawn: list[str]) -> str:
    return f'<div class="grid{" one" if len(drawn) == 1 else ""}">{"".join(drawn)}</div>'


def _predicted(run: RunView) -> str:
    title = "Predicted against measured"
    pairs = [(view, run.predictions[view.name]) for view in run.arms if view.name in run.predictions]
    if not pairs:
        return _section(title, "", nothing("Prediction"))
    note = f"Solid: measured. Dashed: the simulation of the same experiment and seed, made before. {OPEN} {CLOSED}"
    return _section(title, note, _panels([figures.predicted(view, prediction) for view, prediction in pairs]))


def share_styles(document: str) -> str:
    """Each distinct style of the drawings once, as a class: half the bytes."""
    seen: dict[str, str] = {}

    def short(match: re.Match[str]) -> str:
        return f'class="{seen.setdefault(match[1], f"z{len(seen)}")}"'

    def drawing(match: re.Match[str]) -> str:
        return re.sub(r'style="([^"]*)"', short, match[0])

    head, mark, rest = document.partition("<main>")
    rest = re.sub(r"<svg.*?</svg>", drawing, rest, flags=re.S)
    rules = "".join(f".{name}{{{style.replace(': ', ':').replace('; ', ';')}}}" for style, name in seen.items())
    return head.replace("</style>", f"{rules}</style>", 1) + mark + rest
