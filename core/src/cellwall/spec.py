"""The settings of a world, typed and checked.

Decides which settings are valid (`WorldSpec.check`). Never generates anything (that is `placement`) and never
reads a clock. Invariant I2: a spec that passed `check` keeps the timing rule, so no run can start with one that
voids it.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from .errors import Refused

Discipline = Literal["processor-sharing", "fifo", "lifo"]
Placement = Literal["aligned", "striped", "shuffle"]
Lane = Literal["shared", "own"]
Mode = Literal["", "slow", "crash", "epochs"]

ZONES = ("a", "b", "c")


class _Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings: frozen, and an unknown key is an error at the border."""


class RetryPolicy(_Spec, frozen=True, kw_only=True):
    """How long a storage server waits before it asks again after a failure.

    2015's policy: a uniform wait, for ever (seconds; prototype 06 §"Best set").
    """

    wait_min_s: float = 0.15
    wait_max_s: float = 0.45


class RenewalPolicy(_Spec, frozen=True, kw_only=True):
    """When a storage server asks for its membership and how long it waits for it.

    ``renew_every_s`` 20 and ``time_limit_s`` 2 are set R2 of research 07: with R = 15 the fleet fell over before
    the trigger on a busy host, with T larger the event heals.
    """

    renew_every_s: float = 20.0
    jitter_ratio: float = 0.1
    time_limit_s: float = 2.0
    retry: RetryPolicy = RetryPolicy()


class MetadataPolicy(_Spec, frozen=True, kw_only=True):
    """How a metadata node shares itself among its callers.

    ``page_records``: the quantum of processor sharing. Requests in flight × page × cost / CPU limit
    must stay below half the time limit, or small memberships fail too (research 07).
    ``concurrency``: requests in service at once for fifo and lifo; processor sharing serves all.
    ``slots_per_partition``: concurrency of one metadata partition at weight 100; larger than any
    slice of a reference fleet, so that a full weight never binds (guess).
    ``drop_abandoned``: stop working for a caller that has gone.
    ``admin_lane``: "shared" is 2015; "own" serves administration before renewals.
    """

    discipline: Discipline = "processor-sharing"
    concurrency: int = 8
    drop_abandoned: bool = True
    admin_lane: Lane = "shared"
    page_records: int = 50
    partitions: int = 16
    slots_per_partition: int = 200


class Release(_Spec, frozen=True, kw_only=True):
    """What a release of the metadata node does wrong; nothing, by default.

    ``record_cpu_s``: CPU spent on each record beside the work. ``crash_on``: the process ends on its n-th renewal.
    ``epochs_behind``: memberships go out under an epoch that is so much too low, as from a copy that is old.
    """

    record_cpu_s: float = 0.0
    crash_on: int = 0
    epochs_behind: int = 0


# Figures are guesses: five times what a record costs (`capacity.TYPICAL`), so that a healthy cell's load is too much;
# some seconds of a reference cell's renewals (ten a second).
RELEASES: dict[Mode, Release] = {
    "": Release(),
    "slow": Release(record_cpu_s=2.5e-5),
    "crash": Release(crash_on=40),
    "epochs": Release(epochs_behind=1),
}


class FleetSpec(_Spec, frozen=True, kw_only=True):
    """Storage servers, and how uneven their memberships are (set R2 of research 07).

    ``large_records`` is the mean membership of a server in a large placement group; sizes are drawn
    uniformly from the ``*_range`` multiples of it. ``indexes=False`` is the same world without its
    secondary indexes: half the membership. ``customers_per_group`` is a guess. ``servers_per_pod`` is for Kubernetes:
    every pod costs a small cluster CPU of its own, which the metadata service then lacks.
    """

    servers: int = 800
    zones: int = 3
    group_servers: int = 25
    large_share: float = 0.5
    mid_share: float = 0.1
    large_records: int = 1700
    large_range: tuple[float, float] = (0.7, 1.3)
    mid_range: tuple[float, float] = (0.05, 0.4)
    small_range: tuple[float, float] = (0.025, 0.075)
    indexes: bool = True
    customers_per_group: int = 4
    servers_per_pod: int = 17


class LoadSpec(_Spec, frozen=True, kw_only=True):
    """Customers' open-loop arrivals. ``keys_per_table`` bounds the data set (guess)."""

    rps: float = 100.0
    eventual_read_ratio: float = 0.2
    write_ratio: float = 0.4
    timeout_s: float = 1.0
    in_flight_cap: int = 400
    keys_per_table: int = 8


class CpuSpec(_Spec, frozen=True, kw_only=True):
    """The metadata service's CPU limit, as a load factor instead of a figure.

    L = N_large · n · c / (q · T) with c the calibrated CPU per record in a storm; the total limit q follows and
    is the same for all arms of a seed. 6.0 is a little above research 07's 5–5.6: above it cells of a quarter fall
    over before the trigger, near 4.4 a cut of a quarter does not ignite (DESIGN.md, decision 5).
    ``factor`` multiplies q (2.0 is the arm double-cpu).
    ``total_cores`` overrides the calibration.
    """

    load_factor: float = 6.0
    factor: float = 1.0
    total_cores: float | None = None


class WorldSpec(_Spec, frozen=True, kw_only=True):
    """Everything that defines one arm's world. The seed fixes sizes, placement, arrivals, targets.

    ``shared_store``: all cells keep their data in one store process, each in a database of its own."""

    seed: int = 1
    cells: int = 1
    nodes_per_cell: int = 1
    placement: Placement = "aligned"
    shuffle_cells: int = 2
    shared_store: bool = False
    fleet: FleetSpec = FleetSpec()
    renewal: RenewalPolicy = RenewalPolicy()
    metadata: MetadataPolicy = MetadataPolicy()
    load: LoadSpec = LoadSpec()
    cpu: CpuSpec = CpuSpec()

    def check(self, *, force: bool = False) -> list[str]:
        """Refuse a world that cannot mean anything; return warnings for one that is merely doubtful.

        ``force`` turns the cell size rule from a refusal into a warning; nothing else.
        """
        r, f, m = self.renewal, self.fleet, self.metadata
        _need(r.time_limit_s > 0, "renewal.time_limit_s", r.time_limit_s, "> 0")
        _need(
            2 * r.time_limit_s < r.renew_every_s,
            "renewal.renew_every_s",
            r.renew_every_s,
            f"> 2 × time_limit_s = {2 * r.time_limit_s:g} (the timing rule)",
        )
        _need(0 <= r.jitter_ratio < 1, "renewal.jitter_ratio", r.jitter_ratio, "in [0, 1)")
        _need(
            0 < r.retry.wait_min_s <= r.retry.wait_max_s,
            "renewal.retry.wait_min_s",
            r.retry.wait_min_s,
            f"in (0, wait_max_s = {r.retry.wait_max_s:g}]",
        )
        _need(f.zones >= 3, "fleet.zones", f.zones, ">= 3 (a partition has three replicas in three zones)")
        _need(f.zones <= len(ZONES), "fleet.zones", f.zones, f"<= {len(ZONES)}")
        _need(f.group_servers >= f.zones, "fleet.group_servers", f.group_servers, f">= zones = {f.zones}")
        _need(f.servers >= f.group_servers, "fleet.servers", f.servers, f">= group_servers = {f.group_servers}")
        _need(
            f.servers % f.group_servers == 0,
            "fleet.servers",
            f.servers,
            f"a multiple of group_servers = {f.group_servers}",
        )
        _need(0 <= f.large_share <= 1, "fleet.large_share", f.large_share, "in [0, 1]")
        # Sums, because 1 - 0.9 < 0.1 in floating point.
        shares = f.large_share + f.mid_share
        _need(f.mid_share >= 0 and shares <= 1, "fleet.mid_share", f.mid_share, "in [0, 1 - large_share]")
        _need(f.large_records >= 1, "fleet.large_records", f.large_records, ">= 1")
        for name in ("large_range", "mid_range", "small_range"):
            low, high = span = getattr(f, name)
            _need(0 < low <= high, f"fleet.{name}", span, "two multiples, 0 < low <= high")
        _need(f.customers_per_group >= 1, "fleet.customers_per_group", f.customers_per_group, ">= 1")
        _need(self.cells >= 1, "cells", self.cells, ">= 1")
        groups = f.servers // f.group_servers
        _need(self.cells <= groups, "cells", self.cells, f"<= the fleet's placement groups = {groups}")
        _need(1 <= f.servers_per_pod <= 400, "fleet.servers_per_pod", f.servers_per_pod, "in [1, 400]")
        _need(self.nodes_per_cell >= 1, "nodes_per_cell", self.nodes_per_cell, ">= 1")
        _need(self.shuffle_cells >= 1, "shuffle_cells", self.shuffle_cells, ">= 1")
        _need(m.page_records >= 1, "metadata.page_records", m.page_records, ">= 1")
        _need(m.partitions >= 1, "metadata.partitions", m.partitions, ">= 1")
        _need(m.concurrency >= 1, "metadata.concurrency", m.concurrency, ">= 1")
        _need(m.slots_per_partition >= 1, "metadata.slots_per_partition", m.slots_per_partition, ">= 1")
        _need(self.cpu.load_factor > 0, "cpu.load_factor", self.cpu.load_factor, "> 0")
        _need(self.cpu.factor > 0, "cpu.factor", self.cpu.factor, "> 0")
        cores = self.cpu.total_cores
        _need(cores is None or cores > 0, "cpu.total_cores", cores, "> 0, or null (calibrated)")
        load = self.load
        _need(load.rps >= 0, "load.rps", load.rps, ">= 0")
        _need(0 <= load.eventual_read_ratio <= 1, "load.eventual_read_ratio", load.eventual_read_ratio, "in [0, 1]")
        ratios = load.eventual_read_ratio + load.write_ratio
        ratios_ok = load.write_ratio >= 0 and ratios <= 1
        _need(ratios_ok, "load.write_ratio", load.write_ratio, "in [0, 1 - eventual_read_ratio]")
        _need(load.timeout_s > 0, "load.timeout_s", load.timeout_s, "> 0")
        _need(load.in_flight_cap >= 1, "load.in_flight_cap", load.in_flight_cap, ">= 1")
        _need(load.keys_per_table >= 1, "load.keys_per_table", load.keys_per_table, ">= 1")
        return self._check_cell_size(force)

    def _check_cell_size(self, force: bool) -> list[str]:
        """A cell that is too small is sick by itself: solo service time ÷ T ≤ 1/15 (research 07)."""
        large = self.fleet.servers * self.fleet.large_share / self.cells
        if large == 0 or self.cpu.total_cores is not None:
            return []
        solo_ratio = self.cpu.load_factor / self.cpu.factor / large
        if solo_ratio <= SOLO_RATIO_MAX:
            return []
        # Nudged, so that advice on the very border is advice that works.
        per_cell = self.cpu.load_factor / self.cpu.factor / SOLO_RATIO_MAX * (1 + 1e-9)
        most = math.floor(self.fleet.servers * self.fleet.large_share / per_cell)
        alone = f"one large renewal alone would take {solo_ratio:.2f} of the time limit (at most {SOLO_RATIO_MAX:.3f})"
        if most < 1:
            groups = math.ceil(per_cell / self.fleet.large_share / self.fleet.group_servers)
            least = groups * self.fleet.group_servers
            text = f"fleet.servers: {self.fleet.servers} are too few: {alone}; use at least {least} servers"
        else:
            text = (
                f"cells: {self.cells} cells are too small for {self.fleet.servers} servers: {alone}; "
                f"use at most {most} cells or more servers"
            )
        if not force:
            raise Refused(text + ", or --force")
        return [text]


SOLO_RATIO_MAX = 1 / 15  # research 07: S = 600 is at the edge for 4 cells; at 1 / 10 (S = 800, 8 cells) some time out


def _need(ok: bool, field: str, value: object, right: str) -> None:
    if not ok:
        raise Refused(f"{field}: {value!r} is not allowed; it must be {right}")
