"""The story of a run in short paragraphs: the base arm phase by phase, every other arm by how it differs.

Decides which sentence a number deserves and leaves out what was not recorded. Invents nothing: every
figure is in the view, and the lines on 2015 are from the public summary of the event
(sources/post-event-summary.txt).
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import msgspec

from cellwall.history import Step

from .answer import STUCK_RATIO, sick_cells
from .view import MISSING, ArmView, RunView, count, percent, seconds

IN_2015 = {
    "Healthy": "Retrieving some memberships already took nearly the time allowed.",
    "The cut": "2:19: a brief network disruption of a portion of the storage servers.",
    "The spread": "Servers not involved in the disruption became unavailable too; healthy ones fell back.",
    "Stuck": "2:37: the error rate settled at approximately 55 %.",
    "Locked out": "Until 5:06 several attempts at adding capacity failed.",
    "Paused": "5:06: requests to the metadata service were paused; from 5:45 customer traffic was fully disabled.",
    "Capacity": "With the load gone, significant capacity could be added.",
    "Re-entry": "7:10: error rates low enough for most customers.",
}


class Chapter(msgspec.Struct, frozen=True):
    """One paragraph; ``at_s`` None: not at a time."""

    name: str
    text: str
    at_s: float | None = None


def lede(run: RunView) -> str:
    """What the times and the rule of renewal are; HTML."""
    if not run.arms or not run.arms[0].records:
        return ""
    view = run.arms[0]
    rule = f"A server renews its membership every {view.renew_every_s:g} s and allows {view.time_limit_s:g} s for it."
    return f"<b>{escape(view.name)}</b>, phase by phase. Times count from the end of the cut. {escape(rule)}"


def chapters(run: RunView) -> str:
    """The base arm's phases, then the other arms; HTML."""
    if not run.arms or not run.arms[0].records:
        return f'<p class="none">The story: {MISSING}.</p>'
    base, *others = run.arms
    told = [*_before(base), *_outage(base), *_cure(base), *_after(base)]
    told += [Chapter(view.name, _differs(view, base)) for view in others]
    aside = IN_2015 if run.experiment.startswith("september-2015") else {}
    rows = []
    for chapter in told:
        when = "" if chapter.at_s is None else f"{chapter.at_s:.0f} s".replace("-", "−")
        small = run.questions.get(chapter.name) or (f"In 2015: {aside[chapter.name]}" if chapter.name in aside else "")
        below = f"<small>{escape(small)}</small>" if small else ""
        rows.append(f"<dt><b>{escape(chapter.name)}</b>{when}</dt><dd>{escape(chapter.text)}{below}</dd>")
    return f'<dl class="story">{"".join(rows)}</dl>'


def _before(view: ArmView) -> Iterator[Chapter]:
    if view.clean:
        text = f"{count(view.servers, 'storage server')} in {count(len(view.cells), 'cell')}."
        if view.failed_renewals_clean is not None:
            text += f" {count(view.failed_renewals_clean, 'renewal')} failed"
            text += f"; 99 of 100 took at most {seconds(view.slowest_clean_s)}."
        if view.cpu_clean is not None:
            text += f" The metadata service used {percent(view.cpu_clean)} of its CPU limit."
        yield Chapter("Healthy", text, view.clean[0])
    if view.cut_s is not None:
        share = percent(view.targets / view.servers)
        text = f"{count(view.targets, 'server')} ({share}) lost the network for {seconds(view.cut_s)}."
        kept = {k: v for k, v in view.receipt.items() if isinstance(v, int | float | str)}
        receipt = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in kept.items())
        text += f" Receipt: {receipt}." if receipt else ""
        yield Chapter("The cut", text, view.cut_at_s)


def _outage(view: ArmView) -> Iterator[Chapter]:
    if view.dragged_in is not None:
        text = f"{count(view.dragged_in, 'server')} that the cut never touched left service as well; "
        yield Chapter("The spread", f"{text}{view.relapsed} came back and fell out again.", view.axis.trigger_gone_s)
    if view.stuck and view.out_stuck is not None:
        low, high = view.out_range or (view.out_stuck, view.out_stuck)
        text = f"{percent(view.out_stuck)} of servers out (lowest and highest 5 s: {percent(low)}, {percent(high)})"
        text += f", {percent(view.errors_stuck)} of requests failed" if view.errors_stuck is not None else ""
        name = "Stuck" if view.out_stuck >= STUCK_RATIO else "Settled"
        yield Chapter(name, f"{text}. The trigger was long gone.", view.stuck[0])


def _cure(view: ArmView) -> Iterator[Chapter]:
    """What was done about it, and what came of it."""
    pause_s = view.pause_at_s
    tries = [(at_s, step) for at_s, step in view.steps if step.step == "add-capacity" and not step.skipped]
    early = [(at_s, step) for at_s, step in tries if pause_s is None or at_s < pause_s]
    late = [(at_s, step) for at_s, step in tries if pause_s is not None and at_s >= pause_s]
    if early:
        yield _locked_out(view, early)
    if pause_s is not None:
        text = "Renewals were paused."
        if view.cpu_after_pause is not None:
            fell = f"metadata CPU fell to {percent(view.cpu_after_pause)} of its limit"
            text += f" Within {2 * view.time_limit_s:g} s {fell}."
        if view.errors_pause_end is not None:
            text += f" The cure hurts: at the end of it {percent(view.errors_pause_end)} of requests failed."
        yield Chapter("Paused", text, pause_s)
    added = [(at_s, step) for at_s, step in late if step.outcome == "done"]
    if added:
        yield Chapter("Capacity", f"Capacity was added, in {seconds(added[0][1].took_s)}.", added[0][0])
    elif late:
        yield Chapter("Capacity", f"{count(len(late), 'attempt')} at adding capacity failed even now.", late[0][0])
    if view.resume_at_s is not None:
        text = "Renewals were let in again."
        if view.recovered_at_s is not None and view.recovered_at_s >= view.resume_at_s:
            text += f" The fleet was back {seconds(view.recovered_at_s - view.resume_at_s)} later."
        yield Chapter("Re-entry", text, view.resume_at_s)


def _locked_out(view: ArmView, tries: list[tuple[float, Step]]) -> Chapter:
    failed = [step for _, step in tries if step.outcome != "done"]
    text = f"{len(failed)} of {count(len(tries), 'attempt')} at adding capacity failed"
    text += f", given up after {seconds(max(step.took_s for step in failed))}." if failed else "."
    before_s = view.cut_at_s if view.cut_at_s is not None else 0.0
    probes = [step for at_s, step in view.steps if step.step == "admin-probe" and at_s < before_s]
    if probes and probes[-1].outcome == "done":
        text += f" Such a request had taken {seconds(probes[-1].took_s)} when healthy."
    return Chapter("Locked out" if failed else "Helped early", text, tries[0][0])


def _after(view: ArmView) -> Iterator[Chapter]:
    if view.watch and view.out_watch is not None:
        text = f"Over the last {view.watch[1] - view.watch[0]:.0f} s {percent(view.out_watch)} of servers were out"
        text += f" and {percent(view.errors_watch)} of requests failed." if view.errors_watch is not None else "."
        text += " The fleet was not back at the end." if view.recovered_at_s is None else ""
        yield Chapter("The end", text, view.watch[0])
    if view.audited:
        yield Chapter("The data", f"{count(view.audited, 'acknowledged key')} read again, {view.lost} lost.")


def _differs(view: ArmView, base: ArmView) -> str:
    if view.out_stuck is None:
        return f"The judged window was {MISSING}."
    text = f"{percent(view.out_stuck)} of servers out, {percent(view.errors_stuck)} of requests failed"
    if base.out_stuck is not None:
        text += f" ({base.name}: {percent(base.out_stuck)}, {percent(base.errors_stuck)})"
    text += "."
    if view.dragged_in is not None:
        text += f" {count(view.dragged_in, 'untouched server')} dragged in."
    if len(view.cells) > 1:
        text += f" {len(sick_cells(view))} of {len(view.cells)} cells sick."
    if view.out_watch is not None:
        text += f" {percent(view.out_watch)} out at the end."
    return text
