"""How long a cell's servers are let in, from what serving them costs: the same for a first start and after a pause."""

from __future__ import annotations

from cellwall import renewal
from cellwall.capacity import Costs
from cellwall.placement import Layout, cell_id

# What the nodes get of two cores while hosts create 740,000 partitions on disk (8 s of CPU; a guess, as if limited).
# With waves for a whole core the fleet stuck before it was in.
ENTRY_CORES = 0.5


def reentry_over_s(layout: Layout, cell: str, costs: Costs, cores: float) -> float:
    """How long this cell's servers need to be let in, with so much CPU."""
    mine = [s for s in range(layout.fleet.servers) if cell_id(layout.cell[s]) == cell]
    records = sum(layout.records[s] for s in mine)
    return renewal.reentry_over_s(records, len(mine), costs.c_record_s, costs.c_request_s, cores)
