"""Story-shaped histories, small and made by hand: an arm that sticks and is cured, one that heals, one contained.

Nothing here is random or simulated: each figure a claim judges can be read off `Story`. R = 20, T = 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import floor

import msgspec
import pytest

from cellwall import history
from cellwall.history import Record
from cellwall.spec import FleetSpec, LoadSpec, WorldSpec

START, CLEAN, CUT, T0, STUCK, PAUSE, CAPACITY, RESUME, WATCH, END = (
    1000.0,
    1010.0,
    1030.0,
    1033.0,
    1073.0,
    1103.5,
    1125.0,
    1135.0,
    1150.0,
    1200.0,
)
FLEET, RPS, CUSTOMERS = 40, 20, 20
C_RECORD_S = 7e-6  # calibrated, and what a record costs all along


@dataclass
class Story:
    """One arm. ``kind``: stuck (and cured), healed, contained (4 cells), spread (4 cells, all sick)."""

    kind: str = "stuck"
    arm: str = "monolith"
    backend: str = "local"
    plateau: float = 0.55  # share of requests failed while stuck
    rate: Callable[[float], float] = field(default=lambda t: 1.0)  # of arrivals, against RPS

    @property
    def cells(self) -> int:
        return 4 if self.kind in ("contained", "spread") else 1

    @property
    def cured(self) -> bool:
        return self.kind == "stuck"

    def server(self, i: int) -> str:
        return f"s-{i:04d}"

    def cell(self, i: int) -> str:
        return f"cell-{i * self.cells // FLEET}"

    def targets(self) -> list[str]:
        step = 4 if self.kind == "spread" else 1
        return [self.server(i * step) for i in range(10)]

    def absent(self) -> dict[int, list[tuple[float, float]]]:
        """Server → when it is out. 10 of 40 are cut; 22 of 40 stay out in the stuck and the spread kind."""
        out: dict[int, list[tuple[float, float]]] = {i: [] for i in range(FLEET)}
        back = RESUME + 1 if self.cured else END + 99
        if self.kind == "healed":
            return out | {i: [(CUT, 1036.0 + i * 0.5)] for i in range(10)}
        if self.kind == "contained":
            return out | {i: [(CUT, 1036.0 if i >= 6 else back)] for i in range(10)}
        if self.kind == "spread":
            cut = {i * 4 for i in range(10)}
            for i in range(FLEET):
                if i in cut or i % 10 in (1, 2, 3):
                    out[i] = [(CUT if i in cut else 1040.0, back)]
            return out
        for i in range(22):
            out[i] = [(CUT if i < 10 else 1036.0 + i * 0.2, back + i * 0.4)]
        out[0] = [(CUT, 1037.0), (1050.0, back)]  # cut: back, and out again
        out[12] = [(1036.0, 1040.0), (1052.0, back)]  # never cut: out, in, out
        for i in range(22, FLEET):  # the pause outlasts everybody's own renewal
            out[i] = [(PAUSE + 2 + (i - 22), back + i * 0.3)]
        return out

    def failing(self, t: float, customer: int) -> float:
        if self.kind == "contained":
            return self.plateau if customer < CUSTOMERS // 4 and t >= CUT else 0.0
        if self.kind == "healed":
            return 0.3 if CUT <= t < 1042 else 0.0
        if t < CUT or (self.cured and t >= WATCH):
            return 0.0
        if self.cured and t >= PAUSE:
            return 0.98 if t < RESUME else 0.5
        return self.plateau


def build(story: Story) -> list[Record]:
    """The story's records, ordered by kind, as a collector of several files would hand them on."""
    return [*_marks(story), *_servers(story), *_requests(story), *_samples(story)]


def _marks(story: Story) -> Iterable[Record]:
    spec = WorldSpec(
        cells=story.cells, fleet=FleetSpec(servers=FLEET, group_servers=5), load=LoadSpec(rps=RPS), placement="aligned"
    )
    yield history.World(
        t=START,
        backend=story.backend,
        arm=story.arm,
        seed=1,
        spec=msgspec.to_builtins(spec),
        servers=[
            [story.server(i), story.cell(i), i % 16, "abc"[i % 3], i // 5, 1700 if i % 2 else 85] for i in range(FLEET)
        ],
        customers={f"c-{c}": [f"cell-{c * story.cells // CUSTOMERS}"] for c in range(CUSTOMERS)},
        calibration={"c_record_s": C_RECORD_S, "c_request_s": 0.0},
        versions={"cellwall": "0"},
    )
    phases = [("start", START), ("clean", CLEAN), ("cut", CUT), ("settle", T0), ("stuck", STUCK)]
    if story.cured:
        phases += [("paused", PAUSE), ("capacity", CAPACITY), ("re-entry", RESUME)]
    phases += [("watch", WATCH if story.cured else PAUSE), ("end", END)]
    yield from (history.Phase(t=t, name=name) for name, t in phases)
    targets = story.targets()
    receipt = {"refused": 57, "servers": len(targets)}
    yield history.Fault(t=CUT, id="cut-1", fault="cut", state="on", targets=targets)
    yield history.Fault(t=T0, id="cut-1", fault="cut", state="off", targets=targets, receipt=receipt)
    yield history.Step(t=1025.0, step="admin-probe", cell="*", outcome="done", took_s=1.2)
    if story.cured:
        for i in range(3):
            t = STUCK + 2 + i * 9
            yield history.Step(t=t, step="add-capacity", cell="*", outcome="unknown", took_s=4.0, reason="time-out")
        yield history.Fault(t=PAUSE, id="pause-1", fault="pause", state="on")
        yield history.Step(t=PAUSE, step="pause", cell="*", outcome="done", took_s=0.4)
        yield history.Step(t=CAPACITY, step="add-capacity", cell="*", outcome="done", took_s=6.0)
        yield history.Step(t=RESUME, step="resume", cell="*", outcome="done", took_s=0.1)
        yield history.Fault(t=RESUME, id="pause-1", fault="pause", state="off")


def _servers(story: Story) -> Iterable[Record]:
    for i, spans in story.absent().items():
        name, cell = story.server(i), story.cell(i)
        yield history.Availability(t=START, server=name, cell=cell, available=False, reason="start")
        yield history.Availability(t=START + 3 + i / 10, server=name, cell=cell, available=True, reason="renewed")
        for out_s, in_s in spans:
            yield history.Availability(t=out_s, server=name, cell=cell, available=False, reason="time-out")
            if in_s < END:
                yield history.Availability(t=in_s, server=name, cell=cell, available=True, reason="renewed")
        for k in range(10):
            t = START + 3 + i / 10 + 20 * k
            # Every ordinary renewal while in service, and a few of the many retries while out.
            out = next((span for span in spans if span[0] <= t < span[1]), None)
            waited_s = 2.0 if out else (0.9 if i % 2 else 0.1)
            yield history.Renewal(
                t=t,
                server=name,
                cell=cell,
                outcome="unknown" if out else "done",
                waited_s=waited_s,
                reason="time-out" if out else "",
                records=0 if out else 1700,
            )


def _requests(story: Story) -> Iterable[Record]:
    """Every customer has one key, put and read in turn; requests of a key never overlap."""
    stored, written, due, turn = dict.fromkeys(range(CUSTOMERS), 0), 0, START + 4, 0
    owed = dict.fromkeys(range(CUSTOMERS), 0.0)
    while due < END:
        customer = turn % CUSTOMERS
        share = story.failing(due, customer)
        # Customers take turns at failing: spread evenly, and never by chance.
        before, owed[customer] = owed[customer] + customer * 0.618 % 1, owed[customer] + share
        failed = floor(owed[customer] + customer * 0.618 % 1) > floor(before)
        put = (turn // CUSTOMERS) % 2 == 0
        written += put
        if put and not failed:
            stored[customer] = written
        yield history.Request(
            t=due,
            customer=f"c-{customer}",
            table=f"t-{customer}",
            partition=0,
            op="put" if put else "get",
            outcome="refused" if failed else "done",
            latency_s=0.012,
            late_s=0.002,
            key="k",
            value=written if put else (0 if failed else stored[customer]),
        )
        turn += 1
        due += 1 / (RPS * story.rate(due))
    for customer, number in stored.items():
        yield history.Audit(
            t=END + 1,
            customer=f"c-{customer}",
            table=f"t-{customer}",
            key="k",
            acknowledged=number,
            found=number,
            outcome="done",
        )


def _samples(story: Story) -> Iterable[Record]:
    spent = 0.0
    for second in range(int(END - START) + 1):
        t = START + second
        share = 0.6 if t < CUT or story.kind == "healed" else 1.0
        if story.cured and t >= PAUSE:
            share = 0.05 if PAUSE + 1 <= t < CAPACITY else 0.8
        for c in range(story.cells):
            yield history.CpuLimit(
                t=t, node=f"cell-{c}-node-0", limit_cores=0.4 / story.cells, cpu_s=spent / story.cells, stopped_ratio=0
            )
            yield history.NodeSample(
                t=t,
                cell=f"cell-{c}",
                node=f"cell-{c}-node-0",
                cpu_s=spent / story.cells,
                in_service=int(20 * share),
                waiting=1,
                oldest_s=share,
                records=round(spent / story.cells / C_RECORD_S),
            )
        yield history.HostSample(t=t, steal_ratio=0.02)
        spent += 0.4 * share


@pytest.fixture(scope="session")
def story() -> Callable[..., list[Record]]:
    """Build a story: story("healed", arm="double-cpu"). Built once each; the list is the caller's own."""
    built: dict[object, list[Record]] = {}

    def tell(kind: str = "stuck", **options: object) -> list[Record]:
        key = (kind, *sorted(options.items()))
        if key not in built:
            built[key] = build(Story(kind, **options))  # type: ignore[arg-type]
        return built[key][:]

    return tell
