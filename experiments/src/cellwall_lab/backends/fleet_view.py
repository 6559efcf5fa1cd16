"""Everything there is to see of a running world, as one value: the answer to the verb `fleet`, on every backend.

Decides of which memberships a cell's retrieval time is told, and when it is too old to tell; asks nobody.
What a node or the front end did not say is None or missing, never the last good figure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cellwall.spec import WorldSpec

from ..verbs import CellView, FleetState, ServerView
from .live import Live

WINDOW_S = 5.0  # of `WindowStats`, as everywhere
# A membership is asked for once a period; one that nobody got for so long tells of better days.
OLD_PERIODS = 1.5


class Retrieval(msgspec.Struct, frozen=True):
    """How long a node took over a membership, and when (Unix seconds)."""

    took_s: float
    at_s: float


class CellFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the backend knows of a cell beside its records. ``retrievals``: by server."""

    nodes: int
    limit_cores: float
    paused: bool = False
    weights: Mapping[int, float] = {}
    retrievals: Mapping[str, Retrieval] = {}


def fleet_state(
    *,
    name: str,
    spec: WorldSpec,
    rows: Sequence[Sequence[Any]],
    live: Live,
    now_s: float,
    cells: Mapping[str, CellFacts],
    tables: Sequence[dict[str, Any]] = (),
) -> FleetState:
    """``rows``: a server each, as in `history.World`."""
    cut = frozenset[str]().union(*live.cut.values())
    servers = [_server(row, live, cut) for row in rows]
    window = live.window(now_s, WINDOW_S)
    by_cell: dict[str, list[ServerView]] = defaultdict(list)
    for server in servers:
        by_cell[server.cell].append(server)
    oldest_s = now_s - OLD_PERIODS * spec.renewal.renew_every_s
    views = {}
    for cell, facts in cells.items():
        of = window.cells[cell]
        largest = max(server.records for server in by_cell[cell])
        views[cell] = CellView(
            servers=of.servers,
            out=of.servers_out,
            queue=of.queue,
            oldest_s=of.oldest_s,
            nodes=facts.nodes,
            limit_cores=facts.limit_cores,
            paused=facts.paused,
            largest_records=largest,
            largest_retrieval_s=_slowest(by_cell[cell], largest / 2, facts.retrievals, oldest_s),
            weights={p: percent for p, percent in facts.weights.items() if percent != 100},
            answered=bool(facts.retrievals),
        )
    return FleetState(
        now_s=now_s,
        phase=live.phase,
        name=name,
        time_limit_s=spec.renewal.time_limit_s,
        servers=servers,
        cells=views,
        window=window,
        faults=list(live.faults.values()),
        tables_in_flight=list(tables),
    )


def newest(told: Iterable[Mapping[str, Mapping[str, float]]]) -> dict[str, Retrieval]:
    """The statistics of a cell's nodes as one: each membership's last retrieval. A server that changed its node is
    known to both."""
    found: dict[str, Retrieval] = {}
    for statistics in told:
        for server, of in statistics.items():
            one = Retrieval(of["retrieval_s"], of["at"])
            if server not in found or found[server].at_s < one.at_s:
                found[server] = one
    return found


def _server(row: Sequence[Any], live: Live, cut: frozenset[str]) -> ServerView:
    server, cell, _, zone, group, _ = row
    reason, since_s = live.why[server]
    out = server in live.out
    state = "in" if not out else "cut" if server in cut else "out"
    return ServerView(server, cell, zone, group, live.records[server], state, reason, since_s)  # type: ignore[arg-type]


def _slowest(
    servers: Iterable[ServerView], records: float, retrievals: Mapping[str, Retrieval], since_s: float
) -> float | None:
    """Of one membership alone it is chance how busy its node was: of all large ones the slowest tells."""
    large = (retrievals.get(server.id) for server in servers if server.records >= records)
    return max((one.took_s for one in large if one is not None and one.at_s >= since_s), default=None)
