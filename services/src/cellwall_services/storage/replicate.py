"""Re-replication: fills partitions that a server lacks from its peers.

Decides whom to ask for what and in which portions, and stores what came; whether what came suffices
is `membership.settle`. Never runs outside a verification. Invariant: a partition is held only once
every peer has been heard, and a row that fails its checksum never reaches the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from cellwall.errors import CellwallError
from cellwall.model import CellMap, ServerId

from ..wire import Exported, Row
from .calls import Calls
from .engine import Store
from .membership import Lacking, settle
from .rows import intact

PORTION = 100  # partitions a call: an export of that many keeps the peer's loop for about 2 ms
LIMIT_S = 5.0  # of one call to a peer (guess: a portion takes milliseconds, a busy host some hundred)


async def replicate(
    server: ServerId, lacking: Mapping[str, Lacking], store: Store, cell_map: CellMap, calls: Calls
) -> int:
    """Fill ``store``; the number of partitions still lacking. What could be filled stays filled.

    Portion by portion, so that memory holds one portion's rows, and the loop is free in between.
    """
    names = sorted(lacking)
    silent: set[ServerId] = set()  # did not answer: not asked again in this verification
    still = 0
    for start in range(0, len(names), PORTION):
        portion = names[start : start + PORTION]
        wanted: dict[ServerId, list[str]] = {}
        for name in portion:
            for peer in set(lacking[name].peers) - {server} - silent:
                wanted.setdefault(peer, []).append(name)
        answers = await asyncio.gather(*(_ask(peer, ask, cell_map, calls) for peer, ask in sorted(wanted.items())))
        heard = {peer: answer for peer, answer in zip(sorted(wanted), answers, strict=True) if answer is not None}
        silent |= wanted.keys() - heard.keys()
        still += _store(server, portion, lacking, store, heard)
    return still


def _store(
    server: ServerId,
    portion: Sequence[str],
    lacking: Mapping[str, Lacking],
    store: Store,
    heard: Mapping[ServerId, Exported],
) -> int:
    holders: dict[str, list[ServerId]] = {}
    rows: dict[str, list[Row]] = {}
    damaged: dict[str, set[ServerId]] = {}
    for peer, answer in heard.items():
        for name in answer.held:
            holders.setdefault(name, []).append(peer)
        for row in answer.rows:
            if intact(row):
                rows.setdefault(row.partition, []).append(row)
            else:
                damaged.setdefault(row.partition, set()).add(peer)
    whole = {
        name: lacking[name].epoch
        for name in portion
        if settle(lacking[name], server, heard.keys() - damaged.get(name, set()), holders.get(name, []))
    }
    store.create(whole, [row for name in whole for row in rows.get(name, [])])
    return len(portion) - len(whole)


async def _ask(peer: ServerId, names: list[str], cell_map: CellMap, calls: Calls) -> Exported | None:
    """What the peer holds of ``names``; None if it cannot be heard."""
    entry = cell_map.servers.get(peer)
    if entry is None or not entry.address:
        return None
    try:
        return await calls.export(entry.address, peer, names, LIMIT_S)
    except CellwallError:
        return None
