"""A sweep's page: each grid's figures and its data as a table, and the command that repeats it, in one file.

Decides order and headings; computes no number and draws nothing. Needs no script, no network and no other file.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..report.page import share_styles
from ..report.style import CSS
from ..statistics.hysteresis import loop
from . import figures, search
from .store import GridMade, Manifest, Row, Store
from .summary import HEAD, Told, cells_of, told

NAME = "report.html"


def render(store: Store) -> Path:
    """Write the page beside the results. Same results, same bytes."""
    manifest = store.manifest()
    rows, unreadable = store.read()
    store.write(NAME, page(manifest, rows, unreadable, search.boundaries(store), search.loops(store)).encode())
    return store.path / NAME


def page(
    manifest: Manifest,
    rows: Sequence[Row],
    unreadable: Sequence[str],
    searched: Sequence[search.Searched],
    looped: Sequence[search.Looped],
) -> str:
    parts = [_head(manifest, rows, unreadable)]
    places = [(grid, told(grid, rows)) for grid in manifest.grids]
    parts += [_grid(grid, found) for grid, found in places if found]
    if searched:
        parts.append(_section("Where it tips", "", figures.boundaries(searched), _boundary_table(searched)))
    if looped:
        note = "The load is stepped up and down again, with no trigger; each level is held for 50 s."
        parts.append(_section("Hysteresis", note, figures.loops(looped), _loop_table(looped)))
    parts.append(_made(manifest, rows))
    return share_styles(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(manifest.experiment)}, swept · Cellwall</title><style>{CSS}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(manifest: Manifest, rows: Sequence[Row], unreadable: Sequence[str]) -> str:
    sick = sum(not row["healthy_before"] for row in rows)
    lede = f"{len(rows):,} simulated runs of {len({row['point'] for row in rows})} points. "
    lede += (
        "Means over the plateau, 2R to 2R + 30 s after the trigger; intervals of 95 %: Wilson's for shares of runs, "
    )
    lede += "Student's t over seeds for the rest."
    doubts = [manifest.mark] if manifest.mark else []
    doubts += [f"not readable, left out: {text}" for text in unreadable]
    doubts += [f"{sick} runs were not healthy before the trigger; they are in all figures"] if sick else []
    notes = "".join(f'<p class="none">{escape(text)}</p>' for text in doubts)
    return (
        f'<header><p class="over">sweep · simulation</p><h1>{escape(manifest.experiment)}</h1>'
        f'<p class="answer">{escape(lede)}</p>{notes}</header>'
    )


def _grid(grid: GridMade, places: Sequence[Told]) -> str:
    drawn = "".join(
        f"<h3>{escape(title)}</h3>{_panels(panels)}" for title, draw in figures.KINDS if (panels := draw(grid, places))
    )
    head = [(axis, "") for axis in grid.axes] + [(name, "" if name == "notes" else "n") for name in HEAD]
    rows = [[*(one.labels[axis] for axis in grid.axes), *cells_of(one)] for one in places]
    question = f'<p class="question">{escape(grid.question)}</p>' if grid.question else ""
    return f"<section><h2>{escape(grid.name)}</h2>{question}{drawn}{_table(head, rows)}</section>"


def _boundary_table(searched: Sequence[search.Searched]) -> str:
    head = [("place", ""), ("where", ""), ("levels", "n"), ("stuck, of runs", "")]
    rows = [
        [
            _words(one.labels),
            figures.told_boundary(one),
            str(len(one.search.seen)),
            ", ".join(f"{s.at:.4g}: {s.tipped}/{s.runs}" for s in sorted(one.search.seen, key=lambda s: s.at)),
        ]
        for one in searched
    ]
    return _table(head, rows)


def _loop_table(looped: Sequence[search.Looped]) -> str:
    head = [("place", ""), ("seed", "n"), ("tips at", "n"), ("recovers at", "n"), ("width", "n"), ("area", "n")]
    rows = []
    for one in looped:
        made = loop(one.readings, figures.TIPPED_RATIO)
        width = "—" if made.width_ratio is None else f"{100 * made.width_ratio:.0f} %"
        ends = ["never" if end is None else f"{end:.2f}" for end in (made.tips_at, made.recovers_at)]
        rows.append([_words(one.labels), str(one.seed), *ends, width, f"{made.area:.2f}"])
    return _table(head, rows)


def _made(manifest: Manifest, rows: Sequence[Row]) -> str:
    cpu_s = [row["cpu_s"] for row in rows]
    facts = [
        ("version", manifest.made.version),
        ("machine", manifest.made.machine),
        ("seeds", ", ".join(map(str, manifest.seeds))),
        ("cost of a record", f"{manifest.costs.c_record_s * 1e6:.2f} µs"),
        ("cost of a request", f"{manifest.costs.c_request_s * 1e3:.2f} ms"),
        ("CPU time of a run", f"{sum(cpu_s) / max(1, len(cpu_s)):.2f} s; all {sum(cpu_s):.0f} s"),
        ("rows", "parts/*.parquet, one a run"),
    ]
    made = _table([("what", ""), ("value", "")], [[name, value] for name, value in facts])
    command = f"<h3>Repeat it</h3><pre>{escape(manifest.command)}</pre>"
    return f"<section><h2>Where this comes from</h2>{command}{made}</section>"


def _section(title: str, note: str, panels: Sequence[str], table: str) -> str:
    lede = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{lede}{_panels(panels)}{table}</section>"


def _panels(drawn: Sequence[str]) -> str:
    return f'<div class="grid{" one" if len(drawn) == 1 else ""}">{"".join(drawn)}</div>'


def _table(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    names = "".join(f'<th scope="col" class="{kind}">{escape(name)}</th>' for name, kind in head)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{escape(cell)}</td>' for (_, kind), cell in zip(head, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'


def _words(labels: dict[str, str]) -> str:
    return ", ".join(f"{axis} {value}" for axis, value in labels.items())
