"""What is done to the world, in the order in which it happens.

Decides the order: an action happens after everything else at its instant, the end of a cut where the core's engine
would schedule it. Computes nothing of what an action does (that is `advance`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .model import Action, Cut, Ints, Limit, Pause, Resume, Weight
from .state import LAST, STEP, Table

CUT_ON, CUT_OFF, LIMIT, PAUSE, RESUME, WEIGHT = range(6)
UNSET = LAST - 1  # seq of a cut's end until the cut begins


def make_steps(actions: Sequence[Action]) -> tuple[Table, Ints]:
    """One row a step, and the servers that cuts strike: step i's are ``struck[first : first + count]``.

    ``other`` is the row that ends a cut, or the metadata partition of a weight; ``value`` a factor, a percentage, or
    how long a re-entry lasts.
    """
    order = []  # (when, 0 for what is scheduled and 1 for what comes from outside, number of the action)
    for number, action in enumerate(actions):
        order.append((action.at_ns, 1, number))
        if isinstance(action, Cut):
            order.append((action.at_ns + action.for_ns, 0, number))
    order.sort()
    end_of = {number: place for place, (_, outside, number) in enumerate(order) if not outside}
    steps = np.zeros(len(order), STEP)
    struck: list[int] = []
    for step, (at_ns, outside, number) in zip(steps, order, strict=True):
        step["t_ns"], step["seq"] = at_ns, LAST if outside else UNSET
        match actions[number]:
            case Cut() as cut:
                step["kind"] = CUT_ON if outside else CUT_OFF
                step["first"], step["count"], step["other"] = len(struck), len(cut.servers), end_of[number]
                struck += cut.servers
            case Limit() as limit:
                step["kind"], step["cell"], step["value"] = LIMIT, limit.cell, limit.factor
            case Pause() as pause:
                step["kind"], step["cell"] = PAUSE, pause.cell
            case Resume() as resume:
                step["kind"], step["cell"], step["value"] = RESUME, resume.cell, resume.over_ns
            case Weight() as weight:
                step["kind"], step["cell"], step["value"] = WEIGHT, weight.cell, weight.percent
                step["other"] = weight.partition
    return steps, np.array(struck, np.int64)
