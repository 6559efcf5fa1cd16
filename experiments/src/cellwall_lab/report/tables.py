"""The report's tables: arms at a glance, the runbook's steps, claims, provenance.

Decides columns and order. Computes no number; every text from a run is escaped here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from cellwall.history import Step
from cellwall.verdict import ClaimVerdict

from . import answer
from .embed import nothing
from .view import ArmView, RunView, plain, seconds

SIGNS = {"held": "✓", "broken": "✕", "unknown": "?"}
_STEP_TONES = {"done": "held", "refused": "broken", "unknown": "broken", "skipped": "unknown"}


def glance(run: RunView) -> str:
    """Arms side by side in figures."""
    head = [("arm", ""), *((name, "n") for name in answer.GLANCE)]
    rows = [[_row_head(view.name), *map(_number, answer.glance(view))] for view in run.arms]
    return _table(head, rows) if rows else ""


def steps(run: RunView) -> str:
    """Every step of every runbook, those not taken too."""
    head = [("arm", ""), ("at", "n"), ("step", ""), ("cell", ""), ("outcome", ""), ("took", "n"), ("why", "")]
    rows = []
    for view in run.arms:
        for k, (at_s, same) in enumerate(_alike(view)):
            outcome = "skipped" if same[0].skipped else same[0].outcome
            rows.append(
                [
                    _row_head(view.name if k == 0 else ""),
                    _number(f"{at_s:+.1f} s".replace("-", "−")),
                    _short(", ".join(dict.fromkeys(step.step for step in same))),
                    _short(", ".join(dict.fromkeys(step.cell for step in same))),
                    f'<td class="mark {_STEP_TONES[outcome]}">{escape(outcome)}</td>',
                    _number("" if outcome == "skipped" else seconds(same[0].took_s)),
                    _long(same[0].reason),
                ]
            )
    return _table(head, rows) if rows else nothing("Steps")


def _alike(view: ArmView) -> list[tuple[float, list[Step]]]:
    """Steps skipped at the same time for the same reason as one row; every step taken has its own."""
    rows: list[tuple[float, list[Step]]] = []
    skipped: dict[tuple[float, str], list[Step]] = {}
    for at_s, step in view.steps:
        key = (round(at_s, 1), step.reason)
        if step.skipped and key in skipped:
            skipped[key].append(step)
            continue
        rows.append((at_s, [step]))
        if step.skipped:
            skipped[key] = rows[-1][1]
    return rows


def claims(run: RunView) -> str:
    """Each arm's claims, with what they rest on."""
    head = [("claim", ""), ("outcome", ""), ("value", "n"), ("bound", ""), ("evidence", "")]
    parts = []
    for arm in run.verdicts:
        rows = [
            [
                f'<td class="long">{escape(claim.text or claim.id)}<small>{escape(claim.id)}</small></td>',
                f"<td>{mark(claim.outcome)}</td>",
                f'<td class="n">{escape(plain(claim.value, claim.unit))}<small>{escape(_unit(claim))}</small></td>',
                _short(plain(claim.bound, claim.unit)),
                _long(plain(claim.evidence)),
            ]
            for claim in arm.claims
        ]
        parts.append(f'<h3 id="{anchor(arm.name)}">{escape(arm.name)} {mark(arm.outcome)}</h3>')
        if arm.name in run.voids:
            parts.append(f'<p class="none">This run does not count: {escape(run.voids[arm.name])}</p>')
        parts.append(_table(head, rows) if rows else nothing("Claims", "none judged"))
    return "".join(parts) or nothing("Claims", "none judged")


def _unit(claim: ClaimVerdict) -> str:
    """What the value counts, or is a percentage of."""
    return "" if claim.value is None else claim.unit.removeprefix("share ")


def provenance(run: RunView) -> str:
    """What made the run, and how well the machine let it be made."""
    facts = [("run", run.folder), ("experiment", run.experiment), ("backend", run.backend), ("seed", str(run.seed))]
    facts += [(f"version of {name}", value) for name, value in sorted(run.versions.items())]
    facts += [(f"calibration: {name}", plain(value)) for name, value in sorted(run.calibration.items())]
    made = [[_row_head(name), f"<td>{escape(value)}</td>"] for name, value in facts]
    machine = [
        [_row_head(view.name), _number(f"{view.records:,}"), *map(_number, answer.health(view))] for view in run.arms
    ]
    health = ("records", "CPU stolen, mean", "worst second", "load late, p99", "worst")
    lags = [row for view in run.arms for row in _lags(view)]
    lag_head = [("arm", ""), ("process", ""), ("loop lag, p99 of samples", "n"), ("worst", "n")]
    return (
        f"<h3>Repeat it</h3><pre>{escape(run.command)}</pre>"
        f"<h3>Made with</h3>{_table([('what', ''), ('value', '')], made)}"
        f"<h3>The machine meanwhile</h3>"
        f"{_table([('arm', ''), *((name, 'n') for name in health)], machine) if machine else nothing('Machine')}"
        f"<h3>Loop lag of every process</h3>{_table(lag_head, lags) if lags else nothing('Loop lag')}"
    )


def _lags(view: ArmView) -> list[list[str]]:
    return [
        [_row_head(view.name if k == 0 else ""), _short(name), _number(seconds(p99_s)), _number(seconds(worst_s))]
        for k, (name, (p99_s, worst_s)) in enumerate(sorted(view.lags.items()))
    ]


def tone(outcome: str) -> str:
    return outcome if outcome in SIGNS else "unknown"


def mark(outcome: str) -> str:
    """An outcome as sign and word, never as colour alone."""
    return f'<span class="mark {tone(outcome)}">{SIGNS[tone(outcome)]} {escape(outcome)}</span>'


def anchor(arm: str) -> str:
    """Where an arm's claims stand on the page."""
    return "claims-" + re.sub(r"[^A-Za-z0-9_-]+", "-", arm)


def _table(head: Iterable[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """A table in a container of its own that scrolls where the page is narrow; columns "n" are numbers."""
    names = "".join(f'<th scope="col" class="{kind}">{escape(name)}</th>' for name, kind in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div>'


def _row_head(text: str) -> str:
    return f'<th scope="row">{escape(text)}</th>'


def _number(text: str) -> str:
    return f'<td class="n">{escape(text)}</td>'


def _short(text: str) -> str:
    return f'<td class="s">{escape(text)}</td>'


def _long(text: str) -> str:
    return f'<td class="long">{escape(text)}</td>'
