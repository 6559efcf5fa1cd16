"""Chaos Toolkit actions: thin callers of the world server's verbs.

Decides nothing; a verb's answer is the action's output, and an outcome other than done raises, so that
it fails the run (`add_capacity` and `admin_probe` are attempts: theirs is evidence for the judge). The
control puts the world's socket, the arm's targets and the durations into ``configuration``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown
from cellwall.spec import RenewalPolicy

from .. import runbook, triggers, verbs
from ..verbs import CutOn, StepResult, Waited, WorldClient

__all__ = [
    "add_capacity",
    "admin_probe",
    "cut",
    "follow_runbook",
    "grow_indexes",
    "kill",
    "limit_cpu",
    "load",
    "lose_node",
    "make_safe",
    "pause",
    "phase",
    "poison",
    "release",
    "resume",
    "strike",
    "wait",
    "weight",
]

Configuration = dict[str, Any]
Output = dict[str, Any]
WORLD, LINE, RUNBOOK, RENEWAL = "cellwall_world", "cellwall_line", "cellwall_runbook", "cellwall_renewal"
CALL_TIMEOUT_S = 120.0  # guess: longer than any verb takes beyond the time that it was told to let pass


def client(configuration: Configuration, passes_s: float = 0.0) -> WorldClient:
    """The world of this run; ``passes_s`` is how long the call may take by its own arguments."""
    socket = configuration.get(WORLD)
    if not socket:
        raise Refused("controls: no world is running; the file must name the control cellwall_lab.chaos.control")
    return WorldClient(socket, timeout_s=CALL_TIMEOUT_S + passes_s)


def wait(
    configuration: Configuration,
    for_s: float | None = None,
    until: str | None = None,
    deadline_s: float | None = None,
) -> Output:
    """Let time pass for ``for_s`` seconds, or until clean, faults-off, stuck or recovered within ``deadline_s``."""
    verb = _verb(verbs.Wait, for_s=for_s, until=until, deadline_s=deadline_s)
    waited: Waited = client(configuration, (for_s or 0.0) + (deadline_s or 0.0)).call(verb)
    if not waited.met:
        raise Unavailable(f"wait: not {until} within {deadline_s} s")
    return _plain(waited)


def phase(name: str, configuration: Configuration) -> None:
    """Write a phase to the history: clean, cut, settle, stuck, watch, end."""
    client(configuration).call(verbs.MarkPhase(name=name))


def load(rps: float, configuration: Configuration) -> None:
    """Set the customers' request rate; 0 stops them."""
    client(configuration).call(_verb(verbs.Load, rps=rps))


def cut(targets: dict[str, Any], for_s: float, configuration: Configuration) -> Output:
    """Make the targets unreachable for ``for_s`` seconds; returns at once."""
    on = _on(configuration, _verb(verbs.Cut, targets=targets, for_s=for_s))
    if on["servers"] == 0:
        raise Refused(f"cut: targets: {targets!r} is not allowed; it must strike at least one server")
    return on


def strike(trigger: dict[str, Any], configuration: Configuration) -> Output:
    """Let the arm's trigger strike: {cut | kill | node-loss | release | poison: its arguments}. It ends by itself."""
    return _on(configuration, triggers.decode(trigger))


def kill(what: str, of: str, configuration: Configuration, for_s: float = 10.0) -> Output:
    """End the node or the store of a cell, a storage host or all of a zone; they are started again after ``for_s``, on
    Kubernetes by their controller."""
    return _on(configuration, _verb(verbs.Kill, what=what, of=of, for_s=for_s))


def lose_node(node: str, for_s: float, configuration: Configuration) -> Output:
    """Stop a worker of a kind cluster and start it again after ``for_s``."""
    return _on(configuration, _verb(verbs.NodeLoss, node=node, for_s=for_s))


def release(cell: str, mode: str, for_s: float, configuration: Configuration) -> Output:
    """Roll a bad release (slow, crash, epochs) of the metadata node out to one cell, and back after ``for_s``."""
    return _on(configuration, _verb(verbs.Release, cell=cell, mode=mode, for_s=for_s))


def poison(cell: str, configuration: Configuration, indexes: int = 10, deadline_s: float = 180.0) -> Output:
    """Grow the largest table of a cell until its memberships are more than the cell can serve."""
    return _on(configuration, _verb(verbs.Poison, cell=cell, indexes=indexes, deadline_s=deadline_s))


def limit_cpu(factor: float, configuration: Configuration, cell: str = "*", for_s: float | None = None) -> Output:
    """Multiply a cell's CPU limit."""
    return _done(configuration, _verb(verbs.LimitCpu, factor=factor, cell=cell, for_s=for_s))


def admin_probe(
    configuration: Configuration, cell: str = "*", deadline_s: float | None = None, tries: int = 1
) -> Output:
    """One administrative request in each cell: the map of one metadata partition. Tried again where it took longer
    than T, and nowhere else: it is a load on the cell that it asks."""
    for _ in range(tries):
        result = attempt(configuration, _verb(verbs.AdminProbe, cell=cell, deadline_s=deadline_s))
        late = [c for c, r in result.cells.items() if r.outcome != "done" or r.took_s > configuration["time_limit_s"]]
        if not late:
            break
        cell = ",".join(late)
    return _plain(result)


def add_capacity(configuration: Configuration, cell: str = "*", deadline_s: float | None = None) -> Output:
    """Try to add a metadata node."""
    return _plain(attempt(configuration, _verb(verbs.AddCapacity, cell=cell, deadline_s=deadline_s)))


def grow_indexes(
    configuration: Configuration, tables: int | list[str] = 1, count: int = 1, deadline_s: float = 120.0
) -> Output:
    """Add global secondary indexes to the largest tables (a number) or to these ("customer/table"), until ACTIVE."""
    return _done(configuration, _verb(verbs.GrowIndexes, tables=tables, count=count, deadline_s=deadline_s), deadline_s)


def pause(configuration: Configuration, cell: str = "*") -> Output:
    """Close the renewal listeners."""
    return _done(configuration, _verb(verbs.Pause, cell=cell))


def resume(configuration: Configuration, cell: str = "*", over_s: float | None = None) -> Output:
    """Open the renewal listeners again; servers that are out re-enter in waves."""
    return _done(configuration, _verb(verbs.Resume, cell=cell, over_s=over_s))


def weight(cell: str, partition: int, percent: float, configuration: Configuration) -> Output:
    """Set a metadata partition's traffic weight, percent."""
    return _done(configuration, _verb(verbs.Weight, cell=cell, partition=partition, percent=percent))


def follow_runbook(configuration: Configuration) -> list[dict[str, Any]]:
    """Carry out the arm's runbook (none, by-hand-2015, automatic), step by step."""
    line = msgspec.convert(configuration[LINE], runbook.Timeline)
    renewal = msgspec.convert(configuration[RENEWAL], RenewalPolicy)
    steps = runbook.follow(configuration[RUNBOOK], line, renewal)
    log: list[dict[str, Any]] = []
    answer: Any = None
    while True:
        try:
            verb = steps.send(answer)
        except StopIteration:
            return log
        answer = attempt(configuration, verb)
        if not isinstance(verb, verbs.Window):
            log.append({"verb": type(verb).__name__, **_plain(verb), "answer": msgspec.to_builtins(answer)})


def make_safe(configuration: Configuration, deadline_s: float = 10.0) -> list[str]:
    """Rollback: open what is paused and see every fault expire. Does nothing to a world without faults."""
    world = client(configuration, deadline_s)
    on: list[verbs.FaultState] = world.call(verbs.Faults())
    if any(fault.fault == "pause" for fault in on):
        _done(configuration, verbs.Resume())
    if on:
        wait(configuration, until="faults-off", deadline_s=deadline_s)
    return [fault.id for fault in on]


def attempt(configuration: Configuration, verb: Any) -> Any:
    """Call a verb. For a step, "not now" is an outcome; a step's time-out is one in its answer. A world that
    does not answer raises: its silence must not pass for a capacity request that starved."""
    passes_s = (getattr(verb, "for_s", None) or 0.0) + (getattr(verb, "deadline_s", None) or 0.0)
    world = client(configuration, passes_s)
    if verbs.VERBS[_path(verb)][1] is not StepResult:
        return world.call(verb)
    try:
        return world.call(verb)
    except Unavailable as error:
        return StepResult("refused", 0.0, str(error))


def _on(configuration: Configuration, verb: Any) -> Output:
    """A fault is on when its verb returns: for a machine that may take as long as Kubernetes does to see it."""
    on: CutOn = client(configuration, triggers.lasting_s(verb)).call(verb)
    return _plain(on)


def _done(configuration: Configuration, verb: Any, passes_s: float = 0.0) -> Output:
    result: StepResult = client(configuration, passes_s).call(verb)
    if result.outcome != "done":
        kind: type[CellwallError] = Unknown if result.outcome == "unknown" else Unavailable
        raise kind(f"{_path(verb)}: {result.outcome} after {result.took_s:.1f} s {result.reason}".rstrip())
    return _plain(result)


def _verb(kind: type[Any], **fields: Any) -> Any:
    """Build a verb from a file's arguments, with the file's word for what is wrong."""
    try:
        return msgspec.convert({key: value for key, value in fields.items() if value is not None}, kind)
    except msgspec.ValidationError as error:
        raise Refused(f"{kind.__name__.lower()}: {error}") from None


def _path(verb: Any) -> str:
    return next(path for path, (kind, _) in verbs.VERBS.items() if kind is type(verb))


def _plain(answer: Any) -> Output:
    plain: Output = msgspec.to_builtins(answer)
    return plain
