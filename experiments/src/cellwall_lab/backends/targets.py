"""Which servers a fault strikes, and what several cells' outcomes come to: the same on every backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

import msgspec

from cellwall.errors import Refused
from cellwall.placement import Layout, domain_servers, server_id, spread_servers

from .. import verbs

OUTCOMES = ("done", "refused", "unknown")  # from best to worst


def struck(targets: verbs.Targets, layout: Layout) -> list[int]:
    """The servers that targets name, at least one. The seed alone decides a spread."""
    fleet = layout.fleet
    if targets.domain is not None:
        servers = domain_servers(fleet, targets.domain)
    elif targets.spread is not None:
        servers = spread_servers(fleet, targets.spread, Random(f"{layout.spec.seed}/cut/spread"))
    elif targets.zone is not None:
        servers = [s for s, zone in enumerate(fleet.zone) if zone == targets.zone]
    else:
        names = set(targets.servers or ())
        servers = [s for s in range(fleet.servers) if server_id(s) in names]
        if unknown := names - {server_id(s) for s in servers}:
            raise Refused(f"cut.targets.servers: no server {min(unknown)}")
    if not servers:
        raise Refused(f"cut.targets: {targets} names no server")
    return servers


def named_cells(cells: str, known: Iterable[str]) -> list[str]:
    """The cells that a verb's ``cell`` names: one, several with commas, or "*" for all."""
    names = list(known) if cells == "*" else cells.split(",")
    for name in names:
        if name not in known:
            raise Refused(f"cell: {name!r} is not one of {', '.join(known)}")
    return names


def worst(cells: Mapping[str, verbs.StepResult]) -> verbs.StepResult:
    """The worst outcome, the longest time among those, and each cell's own."""
    found = max(cells.values(), key=lambda r: (OUTCOMES.index(r.outcome), r.took_s))
    return msgspec.structs.replace(found, cells=dict(cells))
