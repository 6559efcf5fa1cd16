"""Why a server is in or out of service, told from its own trace.

Decides the words and the order; asks nobody. The trace is what the server itself wrote down: every time it asked for
its membership, how long it waited, what came, and every time it entered or left service.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from cellwall.history import Availability, Renewal

from ..verbs import FleetState, ServerView

Event = Renewal | Availability
LAST = 12  # rows of the table

WHY = {
    "time-out": "its membership did not arrive within the time limit",
    "link-lost": "its network was cut",
    "unreachable": "no metadata node took its call: its network is cut, or renewals are paused",
    "mismatch": "it was sent a membership that was not its own",
    "stale-epoch": "it was sent a membership older than the one it had",
    "verify": "it could not verify what it holds against its membership",
    "start": "it has just started and must get its membership first",
    "renewed": "its membership arrived and was verified",
}
COLUMNS = ("asked at", "waited", "bytes", "records", "outcome", "reason")


def story(server: ServerView, state: FleetState, trace: Sequence[Event]) -> list[str]:
    """A few sentences."""
    where = f"{server.id} ({server.cell}, zone {server.zone}, group {server.group}, {server.records:,} records)"
    since = f"since {_clock(server.since_s)}, {max(0.0, state.now_s - server.since_s):.0f} s ago"
    why = WHY.get(server.reason, server.reason)
    renewals = [event for event in trace if isinstance(event, Renewal)]
    if server.state == "in":
        lines = [f"{where} is in service {since}: {why}."]
        if renewals:
            last = renewals[-1]
            waited = f"{last.waited_s:.2f} s of {state.time_limit_s:g} s"
            lines.append(f"Its last renewal, asked at {_clock(last.t)}, waited {waited}.")
        lines += _absence(trace)
        return lines
    lines = [f"{where} is out of service {since}: {why}."]
    if server.state == "cut":
        lines.append("It is cut off now: nobody reaches it, and it reaches nobody.")
    asked = [renewal for renewal in renewals if renewal.t >= server.since_s]
    failed = [renewal for renewal in asked if renewal.outcome != "done"]
    if not failed:
        lines.append("It has not been refused since; it waits for its turn to ask again.")
        return lines
    reasons = ", ".join(f"{count} × {reason}" for reason, count in Counter(r.reason for r in failed).most_common())
    lines.append(f"Since then it asked {len(failed)} times in vain: {reasons}.")
    late = [renewal for renewal in failed if renewal.reason == "time-out"]
    if late:
        most = max(late, key=lambda r: r.bytes)
        came = f"at most {most.bytes:,} bytes had come" if most.bytes else "nothing had come"
        lines.append(f"When the limit of {state.time_limit_s:g} s ran out, {came}; what had been done for it was lost.")
    return lines


def rows(trace: Sequence[Event], last: int = LAST) -> list[list[str]]:
    """The newest events, oldest first, in the order of COLUMNS; entering and leaving service stand between them."""
    found = []
    # By when the outcome was known: a renewal that failed comes before the exit that it caused.
    known = sorted(trace, key=lambda e: e.t + e.waited_s if isinstance(e, Renewal) else e.t)
    for event in known[-last:]:
        if isinstance(event, Renewal):
            outcome = [event.outcome, event.reason]
            found.append(
                [_clock(event.t), f"{event.waited_s:.2f} s", f"{event.bytes:,}", f"{event.records:,}", *outcome]
            )
        else:
            word = "enters service" if event.available else "leaves service"
            found.append([_clock(event.t), "", "", "", word, event.reason])
    return found


def _absence(trace: Sequence[Event]) -> list[str]:
    """The last time it was out, if the trace remembers one."""
    changes = [event for event in trace if isinstance(event, Availability)]
    for left, back in zip(reversed(changes[:-1]), reversed(changes), strict=False):
        if back.available and not left.available:
            why = WHY.get(left.reason, left.reason)
            return [f"It was out for {back.t - left.t:.0f} s before, from {_clock(left.t)}: {why}."]
    return []


def _clock(t: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(t))
