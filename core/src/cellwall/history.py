"""The records a run leaves behind: one JSON object a line, one type per kind of thing that happened.

Decides the format only; judging is `judge`. All times are Unix seconds (`t`), all durations end in
`_s`. Outcomes are done, refused (did not happen) or unknown (may have happened; a time-out is
unknown). Invariant I5: a figure in a report is computed from these records and from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from .errors import Refused

Outcome = Literal["done", "refused", "unknown"]

# Faults that can be an arm's trigger: the windows of a judgement begin and end with theirs (`moments`).
TRIGGERS = frozenset({"cut", "kill", "node-loss", "release", "poison"})


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    t: float


class World(_Record, frozen=True, kw_only=True, tag="world"):
    """First record of an arm: what was built. ``spec`` is the WorldSpec, ``servers`` one row per server:
    [id, cell, metadata partition, zone, group, records]. ``customers`` maps customer to the cells its
    tables live in. ``calibration``: c_record_s, c_request_s, total_cores, per cell cores."""

    backend: str
    arm: str
    seed: int
    spec: dict[str, Any]
    servers: list[list[Any]]
    customers: dict[str, list[str]]
    calibration: dict[str, float] = {}
    versions: dict[str, str] = {}


class Phase(_Record, frozen=True, kw_only=True, tag="phase"):
    """The method entered a phase: start, clean, cut, settle, stuck, paused, capacity, re-entry, watch, end."""

    name: str


class Fault(_Record, frozen=True, kw_only=True, tag="fault"):
    """A fault went on or off. ``off`` carries the receipt: evidence that it bit (refused connections, …).
    ``targets``: the servers struck; of a fault of a cell's processes all servers of the cell."""

    id: str
    fault: str  # TRIGGERS, limit-cpu, weight, pause
    state: Literal["on", "off"]
    targets: list[str] = []
    receipt: dict[str, Any] = {}


class Renewal(_Record, frozen=True, kw_only=True, tag="renewal"):
    """One attempt of a storage server. ``t`` is when it asked, ``waited_s`` until the outcome, closed-loop."""

    server: str
    cell: str
    outcome: Outcome
    waited_s: float
    reason: str = ""  # "", time-out, unreachable, mismatch, stale-epoch, verify
    bytes: int = 0
    records: int = 0


class Availability(_Record, frozen=True, kw_only=True, tag="availability"):
    """A storage server entered (available) or left service, and why."""

    server: str
    cell: str
    available: bool
    reason: str = ""  # renewed, time-out, link-lost, unreachable, mismatch, start, killed


class Request(_Record, frozen=True, kw_only=True, tag="request"):
    """One customer request, open-loop. ``t`` is the due instant and ``latency_s`` counts from it;
    ``late_s`` is how late the generator sent it. ``value`` is the sequence number written or read
    (0: nothing). ``partition`` is the table's partition that holds the key."""

    customer: str
    table: str
    partition: int
    op: Literal["put", "get", "get-eventual", "delete"]
    outcome: Outcome
    latency_s: float
    late_s: float = 0.0
    code: str = ""
    key: str = ""
    value: int = 0


class NodeSample(_Record, frozen=True, kw_only=True, tag="node"):
    """One metadata node, about every second: CPU spent since its start, requests in service and waiting,
    age of the oldest (queue age), renewals answered (in time or not: the node cannot know)."""

    cell: str
    node: str
    cpu_s: float
    in_service: int
    waiting: int
    oldest_s: float
    answered: int = 0
    abandoned: int = 0
    records: int = 0  # bundled since its start, whether or not anybody waited for them


class CpuLimit(_Record, frozen=True, kw_only=True, tag="cpu-limit"):
    """A limited process, about every second, written by the limiter: its limit in cores, CPU spent since
    the limit began, and the share of the last interval in which it was stopped (None: nobody can tell)."""

    node: str
    limit_cores: float
    cpu_s: float
    stopped_ratio: float | None = None


class ProcessSample(_Record, frozen=True, kw_only=True, tag="process"):
    """Any process, about every second: CPU spent since its start, resident bytes, event-loop lag p99."""

    name: str
    cpu_s: float
    rss_bytes: int = 0
    lag_s: float = 0.0


class HostSample(_Record, frozen=True, kw_only=True, tag="host"):
    """The machine, about every second: share of CPU time stolen by the hypervisor since the last sample."""

    steal_ratio: float
    busy_ratio: float = 0.0


class Step(_Record, frozen=True, kw_only=True, tag="step"):
    """One step of a runbook or one administrative request, with its outcome and how long it took.
    ``step``: admin-probe, add-capacity, pause, resume, limit-cpu, weight, grow-indexes. ``skipped`` names the
    reason."""

    step: str
    cell: str
    outcome: Outcome
    took_s: float = 0.0
    reason: str = ""
    skipped: bool = False
    detail: dict[str, Any] = {}


class Audit(_Record, frozen=True, kw_only=True, tag="audit"):
    """After the run, one acknowledged key read again: what was found against what was acknowledged."""

    customer: str
    table: str
    key: str
    acknowledged: int
    found: int
    outcome: Outcome


Record = (
    World
    | Phase
    | Fault
    | Renewal
    | Availability
    | Request
    | NodeSample
    | CpuLimit
    | ProcessSample
    | HostSample
    | Step
    | Audit
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """One line with its newline."""
    return _encoder.encode(record) + b"\n"


def decode(lines: Iterable[bytes]) -> Iterator[Record]:
    """Records of non-empty lines. A last line cut off by a kill is dropped; any other bad line is refused."""
    pending: tuple[int, bytes] | None = None
    for number, line in enumerate(lines, 1):
        if pending is not None:
            yield _decode_line(*pending)
            pending = None
        if line.strip():
            pending = (number, line)
    if pending is not None:
        try:
            yield _decode_line(*pending)
        except Refused:
            if pending[1].endswith(b"\n"):
                raise


def _decode_line(number: int, line: bytes) -> Record:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # msgspec passes the latter through
        raise Refused(f"history line {number}: not a record ({error})") from None
