"""How much CPU the metadata service gets, and what a pause and a re-entry must last.

Decides figures from the spec, the fleet and the calibrated costs; measures nothing. Sizes are the
fleet's targets *with* indexes, so the limit is the same in every arm of a seed (design §2).
"""

from __future__ import annotations

import msgspec

from .errors import Refused
from .placement import Fleet
from .spec import WorldSpec

CORES_MIN = 0.15  # design §2: below, the limiter's grain and the loop's own work distort
REQUEST_SHARE_MAX = 0.1  # design §2: c0 at most a tenth of a large renewal


class Costs(msgspec.Struct, frozen=True):
    """CPU seconds of a metadata node per record (``c_record_s``) and per request (``c_request_s``)."""

    c_record_s: float
    c_request_s: float


# What one node needed on the machine this was written on (benchmarks/renewal.py prints them); used where
# nothing was calibrated, that is by a simulation without a local run before it.
TYPICAL = Costs(c_record_s=5.5e-6, c_request_s=3.5e-4)


def large_servers(spec: WorldSpec, fleet: Fleet) -> list[int]:
    """Servers of the large placement groups."""
    large_groups = round(spec.fleet.servers // spec.fleet.group_servers * spec.fleet.large_share)
    return [s for s, group in enumerate(fleet.group) if group < large_groups]


def total_cores(spec: WorldSpec, fleet: Fleet, costs: Costs) -> float:
    """The CPU limit of the whole metadata service, times the arm's factor:

        q = N_large · n · c / (L · T)  +  N_large · c0 / (T + mean retry wait)

    The first term is research 07's. The second is what accepting the storm's requests costs, spent before any
    record is read: without it the cost of a request decides what L means, and where c0 is large the control
    with half the membership sticks too (DESIGN.md, decision 3).

    Refuses a limit below CORES_MIN and requests that cost more than REQUEST_SHARE_MAX of a large renewal.
    """
    if spec.cpu.total_cores is not None:
        return spec.cpu.total_cores * spec.cpu.factor
    large = large_servers(spec, fleet)
    records = sum(fleet.target[s] for s in large)
    if not records:
        raise Refused(
            "fleet.large_share: 0 is not allowed without cpu.total_cores; the limit follows from large servers"
        )
    renewal = spec.renewal
    attempt_s = renewal.time_limit_s + (renewal.retry.wait_min_s + renewal.retry.wait_max_s) / 2
    cores = records * costs.c_record_s / (spec.cpu.load_factor * renewal.time_limit_s)
    cores += len(large) * costs.c_request_s / attempt_s
    if cores < CORES_MIN:
        raise Refused(
            f"fleet.large_records: {spec.fleet.large_records} gives a CPU limit of {cores:.2f} cores on this machine; "
            f"it must be at least {CORES_MIN}: use longer lists or more servers"
        )
    mean_s = records / len(large) * costs.c_record_s
    if costs.c_request_s > REQUEST_SHARE_MAX * mean_s:
        raise Refused(
            f"fleet.large_records: {spec.fleet.large_records} is too few: a request costs "
            f"{costs.c_request_s * 1e3:.2f} ms, more than a tenth of a large renewal ({mean_s * 1e3:.2f} ms)"
        )
    return cores * spec.cpu.factor
