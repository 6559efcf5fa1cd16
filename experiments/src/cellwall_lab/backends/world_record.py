"""The first record of an arm's history: what was built, the same form on every backend."""

from __future__ import annotations

import sys

import msgspec

import cellwall
from cellwall import history
from cellwall.capacity import Costs
from cellwall.placement import Layout

from .config import ArmConfig


def world_record(t: float, config: ArmConfig, layout: Layout, costs: Costs, cores: float) -> history.World:
    """``cores``: the CPU limit of the whole metadata service."""
    return history.World(
        t=t,
        backend=config.backend,
        arm=config.arm,
        seed=config.seed,
        spec=msgspec.to_builtins(layout.spec),
        servers=layout.rows(),
        customers=layout.customers(),
        calibration={
            "c_record_s": costs.c_record_s,
            "c_request_s": costs.c_request_s,
            "total_cores": cores,
            "cell_cores": cores / layout.spec.cells,
        },
        versions={"cellwall": cellwall.__version__, "python": sys.version.split()[0]},
    )
