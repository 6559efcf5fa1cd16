"""The few verbs of a world server, the same on all backends, and a client for them.

Decides the requests' form (the answers' is `answers`); carries nothing out. The world server listens on a unix
socket: POST /{verb} with a JSON body, 200 with the answer, 400 {"error": …} if refused, 409 if
unavailable now, 504 if the outcome is unknown. Chaos Toolkit activities, the runbook and the command
line are thin callers of this page.

A fault's undo is the server's business: every one expires there, whoever dies (rule 1 of honesty).
Simulated time passes only in `wait`.
"""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown
from cellwall.history import Availability, Renewal, Step
from cellwall.spec import Mode

from .answers import CellView as CellView
from .answers import CellWindow as CellWindow
from .answers import CutOn as CutOn
from .answers import FaultState as FaultState
from .answers import FleetState as FleetState
from .answers import ServerView as ServerView
from .answers import StepResult as StepResult
from .answers import Waited as Waited
from .answers import WindowStats as WindowStats

Until = Literal["clean", "faults-off", "recovered", "stuck"]
Victim = Literal["node", "store", "host", "zone"]


class _Verb(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request. The verb's path is the class's ``verb``."""


class Targets(_Verb, frozen=True, kw_only=True):
    """Which servers a fault strikes: exactly one of these.

    ``domain``: a fixed network domain, a quarter of the servers, the same in every arm: those that are
    cell ``domain`` when the fleet is cut into four. ``spread``: that share of every placement group.
    ``zone``: all servers of one zone. ``servers``: these.
    """

    domain: int | None = None
    spread: float | None = None
    zone: str | None = None
    servers: list[str] | None = None


class Load(_Verb, frozen=True, kw_only=True):
    """Set the customers' request rate; 0 stops them."""

    rps: float


class Wait(_Verb, frozen=True, kw_only=True):
    """Let time pass: for so long, or until a condition holds, but no longer than the deadline.

    clean: nobody out, no fault on, for one renewal period. faults-off: no fault on. recovered: at most
    0.5 % of servers out and 0.5 % of requests failed over the last 2 s. stuck: more than 30 % out and no
    fault on."""

    for_s: float | None = None
    until: Until | None = None
    deadline_s: float | None = None


class Cut(_Verb, frozen=True, kw_only=True):
    """Make the targets unreachable for ``for_s``. Returns at once; `Wait` (faults-off) sees its end."""

    targets: Targets
    for_s: float


class Kill(_Verb, frozen=True, kw_only=True):
    """End processes with SIGKILL (pods with grace 0): the ``node``s or the ``store`` of a cell (``of``: its name), the
    storage ``host`` of that name, or all of a ``zone``. They are started again after ``for_s``; on Kubernetes by the
    workload's controller, as soon as it can. Returns when they are gone; `Wait` (faults-off) sees them back."""

    what: Victim
    of: str
    for_s: float = 10.0


class NodeLoss(_Verb, frozen=True, kw_only=True):
    """Stop a machine of a kind cluster, by its name, and start it again after ``for_s``. Only there."""

    node: str
    for_s: float


class Release(_Verb, frozen=True, kw_only=True):
    """Roll a bad release of the metadata node out to one cell, and back after ``for_s``: each node is replaced by one
    that serves before it ends. ``slow``: it spends more CPU on each record; ``crash``: it ends on its n-th renewal and
    is started again, for as long as the release is out; ``epochs``: its memberships' epochs are too low."""

    cell: str
    mode: Mode
    for_s: float


class Poison(_Verb, frozen=True, kw_only=True):
    """Grow the largest table of a cell by ``indexes`` secondary indexes, through the customers' door, until its
    servers' memberships are more than their cell can serve. The fault is the growth: it is off when all indexes are
    there or ``deadline_s`` is over; what has grown stays."""

    cell: str
    indexes: int = 10
    deadline_s: float = 180.0


class LimitCpu(_Verb, frozen=True, kw_only=True):
    """Multiply a cell's CPU limit ("*": every cell's). ``for_s`` None: until the end (a setting, not a fault)."""

    factor: float
    cell: str = "*"
    for_s: float | None = None


class AdminProbe(_Verb, frozen=True, kw_only=True):
    """One administrative request, the map of one metadata partition, with its deadline (None: 2T)."""

    cell: str = "*"
    deadline_s: float | None = None


class AddCapacity(_Verb, frozen=True, kw_only=True):
    """Add one node to a cell ("*": to every cell that is sick, or to all): it takes over half of the
    metadata partitions, one administrative request each, and brings as much CPU as the cell has."""

    cell: str = "*"
    deadline_s: float | None = None


class Pause(_Verb, frozen=True, kw_only=True):
    """Close the renewal listeners from outside the nodes, at once."""

    cell: str = "*"


class Resume(_Verb, frozen=True, kw_only=True):
    """Open the renewal listeners again; servers that are out re-enter in waves over ``over_s`` (None: by
    the rule of `renewal.reentry_over_s`; 0: unpaced)."""

    cell: str = "*"
    over_s: float | None = None


class Weight(_Verb, frozen=True, kw_only=True):
    """Set a metadata partition's traffic weight, percent of its concurrency slots."""

    cell: str
    partition: int
    percent: float


class Window(_Verb, frozen=True, kw_only=True):
    """What happened in the last ``last_s`` seconds."""

    last_s: float = 5.0


class Faults(_Verb, frozen=True, kw_only=True):
    """Which faults are on."""


class Fleet(_Verb, frozen=True, kw_only=True):
    """Everything there is to see: every server, every cell, the window, the faults, tables in flight."""


class MarkPhase(_Verb, frozen=True, kw_only=True):
    """Write a phase to the history."""

    name: str


class Skip(_Verb, frozen=True, kw_only=True):
    """Record a step of the runbook that was not taken, and why."""

    step: str
    reason: str
    cell: str = "*"

    def record(self, now_s: float) -> Step:
        return Step(t=now_s, step=self.step, cell=self.cell, outcome="refused", reason=self.reason, skipped=True)


class GrowIndexes(_Verb, frozen=True, kw_only=True):
    """Add ``count`` global secondary indexes to each of the chosen tables (a number: so many of the largest; names:
    "customer/table"), as their customers would, and see them ACTIVE."""

    tables: int | list[str] = 1
    count: int = 1
    deadline_s: float = 120.0


class Trace(_Verb, frozen=True, kw_only=True):
    """What a server remembers of its renewals, oldest first."""

    server: str


class Stop(_Verb, frozen=True, kw_only=True):
    """Stop the load, read every acknowledged key again, end every process, close the history."""

    audit: bool = True


VERBS: dict[str, tuple[type[_Verb], object]] = {
    "load": (Load, None),
    "wait": (Wait, Waited),
    "cut": (Cut, CutOn),
    "kill": (Kill, CutOn),
    "node-loss": (NodeLoss, CutOn),
    "release": (Release, CutOn),
    "poison": (Poison, CutOn),
    "limit-cpu": (LimitCpu, StepResult),
    "admin-probe": (AdminProbe, StepResult),
    "add-capacity": (AddCapacity, StepResult),
    "pause": (Pause, StepResult),
    "resume": (Resume, StepResult),
    "weight": (Weight, StepResult),
    "window": (Window, WindowStats),
    "faults": (Faults, list[FaultState]),
    "fleet": (Fleet, FleetState),
    "phase": (MarkPhase, None),
    "skip": (Skip, None),
    "grow-indexes": (GrowIndexes, StepResult),
    "trace": (Trace, list[Renewal | Availability]),
    "stop": (Stop, None),
}
_PATHS = {kind: (path, answer) for path, (kind, answer) in VERBS.items()}
_STATUS: dict[int, type[CellwallError]] = {400: Refused, 409: Unavailable, 504: Unknown}

A = TypeVar("A")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("world", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class WorldClient:
    """Calls a world server; one connection per call, so it may be used from several threads."""

    def __init__(self, socket_path: Path | str, timeout_s: float = 900.0) -> None:
        self._path = Path(socket_path)
        self._timeout_s = timeout_s

    def call(self, verb: _Verb, answer: type[A] | None = None) -> A:
        """Carry out one verb. ``answer`` is only for the type checker; the verb decides the form.

        Raises Refused, Unavailable or Unknown as the server says; Unavailable if no server listens."""
        path, kind = _PATHS[type(verb)]
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request("POST", f"/{path}", msgspec.json.encode(verb), {"Content-Type": "application/json"})
            response = connection.getresponse()
            body = response.read()
        except TimeoutError:
            raise Unknown(f"{path}: no answer from the world within {self._timeout_s:g} s") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unavailable(f"no world is running at {self._path}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unknown(f"{path}: the world went away ({error})") from None
        finally:
            connection.close()
        if response.status in _STATUS:
            raise _STATUS[response.status](msgspec.json.decode(body, type=dict[str, str])["error"])
        if response.status >= 400:
            raise Unknown(f"{path}: the world answered {response.status}: {body[:500].decode(errors='replace')}")
        if kind is None:
            return None  # type: ignore[return-value]
        return msgspec.json.decode(body, type=kind)  # type: ignore[no-any-return]
