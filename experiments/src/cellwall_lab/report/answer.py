"""The run in a few words and figures: the answer under the title, and each arm's row in the tables.

Decides how an arm is summed up: stuck, settled lower, or healed. Invents nothing: every figure is in the
view. The first arm is the base that the others are told against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .view import MISSING, ArmView, RunView, percent, seconds

STUCK_RATIO = 0.3  # as in `verbs.Wait`: far from 0 and from the plateau
HEALED_RATIO = 0.005  # issue 3
SICK_RATIO = 0.10  # as in `runbook`: a sick cell of set R2 has 60 % out, a healthy one none

GLANCE = ("cells", "servers out", "requests failed", "dragged in", "relapsed", "back after")


def answer(run: RunView) -> str:
    """The question of the experiment, answered in a sentence or three."""
    told = [view for view in run.arms if view.out_stuck is not None and view.cut_s is not None]
    if told:
        base, *others = told
        text = " ".join([_base(base), *_others(others, base)])
    elif any(view.records for view in run.arms):
        text = "The run was cut short, or nobody was cut off: there is no window in which an outage could be judged."
    else:
        text = "No history was recorded, so there is nothing to tell."
    return text if run.outcome != "unknown" else f"{text} The verdict is unknown{_why_unknown(run)}."


def _why_unknown(run: RunView) -> str:
    for name, reason in run.voids.items():
        return f": the run of {name} does not count, {reason.rstrip('.')}"
    for arm in run.verdicts:
        for claim in arm.claims:
            if claim.outcome == "unknown":
                return f": {arm.name}, {claim.id}: {claim.evidence.rstrip('.')}" if claim.evidence else ""
    return ": no claim was judged"


def _base(view: ArmView) -> str:
    text = f"Cutting {view.targets} of {view.servers} storage servers off for {seconds(view.cut_s)} "
    text += f"left {percent(view.out_stuck)} of the fleet out of service"
    if view.errors_stuck is not None:
        text += f", and {percent(view.errors_stuck)} of customers' requests failing"
    text += f", {2 * view.renew_every_s:.0f} s after the network was back."
    if (view.out_stuck or 0.0) < HEALED_RATIO:
        return text
    if view.recovered_at_s is None:
        return f"{text} It did not recover while it was watched."
    if view.resume_at_s is not None:
        return f"{text} It took a pause and {seconds(view.recovered_at_s)} to bring it back."
    return f"{text} It came back by itself after {seconds(view.recovered_at_s)}."


def _others(views: Sequence[ArmView], base: ArmView) -> Iterator[str]:
    """Who healed in one sentence, who did not in another."""
    healed = [view for view in views if (view.out_stuck or 0.0) <= HEALED_RATIO]
    if healed:
        yield f"In {_list([view.name for view in healed])} it healed by itself."
    stuck = []
    for view in views:
        if view not in healed:
            notes = [f"{view.targets} servers cut"] if view.targets != base.targets else []
            notes += [f"{len(sick_cells(view))} of {len(view.cells)} cells sick"] if len(view.cells) > 1 else []
            stuck.append(f"{view.name} {percent(view.out_stuck)}" + (f" ({', '.join(notes)})" if notes else ""))
    if stuck:
        yield f"Out at the same time in {_list(stuck)}."


def _list(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def sick_cells(view: ArmView) -> list[str]:
    """Cells with more than 10 % of their servers out, on average, in the judged window."""
    lo_s, hi_s = view.stuck or (0.0, 0.0)
    shares = {cell: [y for x, y in points if lo_s <= x < hi_s] for cell, points in view.out_by_cell.items()}
    return sorted(cell for cell, values in shares.items() if values and sum(values) / len(values) > SICK_RATIO)


def glance(view: ArmView) -> list[str]:
    """The cells of `GLANCE`."""
    number = [MISSING if n is None else f"{n:,}" for n in (view.dragged_in, view.relapsed)]
    back = seconds(view.recovered_at_s) if view.recovered_at_s is not None else ("never" if view.out else MISSING)
    return [str(len(view.cells) or MISSING), percent(view.out_stuck), percent(view.errors_stuck), *number, back]


def health(view: ArmView) -> list[str]:
    """CPU stolen (mean, worst second) and lateness of the load generator (p99, worst)."""
    return [percent(view.steal_mean), percent(view.steal_worst), seconds(view.late_p99_s), seconds(view.late_worst_s)]
