"""From a run folder to the cells that the forecast is asked about: what was measured while the run was healthy.

Decides where each figure is found in a history; predicts nothing. Only the world's first record, written before the
trigger, goes into the model; what the run shows later is told beside the prediction, never used for it.
"""

from __future__ import annotations

from pathlib import Path

from cellwall import history
from cellwall.capacity import Costs
from cellwall.errors import Refused
from cellwall.moments import Run, between, moments, read
from cellwall.series import out_curve

from ..runbook import CUT_S
from ..runfolder import HISTORY, RunFolder
from .sources import Case, cells_of, costs_text

PLATEAU_S = 30.0  # the window of the claim servers-out, from 2R after the trigger on
SAMPLES_S = 2.0  # records come about every second


def of_run(path: Path, arm: str | None) -> Case:
    """A recorded arm: its own memberships, costs, CPU limit and cut."""
    folder = RunFolder.open(path)
    chosen = arm or folder.info.arms[0]
    if chosen not in folder.info.arms:
        raise Refused(f"--arm: {chosen!r} is not allowed; {path} has the arms {', '.join(folder.info.arms)}")
    where = folder.arm(chosen) / HISTORY
    try:
        with where.open("rb") as lines:
            run = read(history.decode(lines))
    except OSError as error:
        raise Refused(f"{where}: cannot be read ({error.strerror}), so nothing is known of the run") from None
    if run.world is None or run.spec is None or not run.world.servers:
        raise Refused(f"{where}: names no world; the run did not come as far as a fleet")
    figures = run.world.calibration
    if "total_cores" not in figures or "c_record_s" not in figures:
        raise Refused(f"{where}: does not say what a record costs, or the CPU limit; run it with this version")
    costs = Costs(figures["c_record_s"], figures.get("c_request_s", 0.0))
    rows = [(row[0], row[1], int(row[5])) for row in run.world.servers]
    return Case(
        title=f"{folder.info.experiment}, arm {chosen}, seed {folder.info.seed}, as run on {folder.info.backend}",
        cells=cells_of(run.spec, rows, set(moments(run).targets), costs, figures["total_cores"]),
        cut_s=_cut_s(run),
        notes=[costs_text(costs), *_measured(run, figures["total_cores"])],
    )


def _cut_s(run: Run) -> float:
    at = moments(run)
    return at.t0_s - at.cut_on_s if at.t0_s is not None and at.cut_on_s is not None else CUT_S


def _measured(run: Run, cores: float) -> list[str]:
    """What the run itself says about what is predicted: its use of the CPU when healthy, and what became of it."""
    at, told = moments(run), []
    if at.cut_on_s is not None:
        from_s = at.cut_on_s - run.renew_every_s if at.clean_s is None else at.clean_s
        ends: dict[str, list[float]] = {}
        for sample in between(run.nodes, from_s, at.cut_on_s):
            ends.setdefault(sample.node, []).extend((sample.t, sample.cpu_s))
        seen = [(e[-2] - e[0], e[-1] - e[1]) for e in ends.values() if len(e) > 2]
        if seen:
            use = sum(spent_s / for_s for for_s, spent_s in seen) / cores
            told.append(f"measured before the cut: {100 * use:.0f} % of the CPU limit used")
    if at.t0_s is not None and run.renew_every_s:
        from_s = at.t0_s + 2 * run.renew_every_s
        to_s = min(from_s + PLATEAU_S, at.stuck_end_s or from_s + PLATEAU_S)
        seen_s = max((items[-1].t for items in (run.nodes, run.requests) if items), default=to_s)
        if from_s < to_s <= seen_s + SAMPLES_S:  # a run that was cut short says nothing about what came of it
            share = out_curve(run).mean_share(from_s, to_s)
            told.append(f"measured from 2R after the cut on: {100 * share:.1f} % of the servers out")
    return told
