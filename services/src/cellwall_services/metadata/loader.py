"""Fill one cell's store with its part of a world: `python -m cellwall_services.metadata.loader CONFIG.json`.

Decides nothing: the layout follows from spec and seed (`placement`). Used once, before any node starts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from cellwall.placement import Layout, assignments, make_layout, server_id, server_tables
from cellwall.spec import WorldSpec

from . import store
from .store import Command, Store

COMMANDS_PER_TRIP = 500


class LoaderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``stores``: the store's URL of each cell, by cell number."""

    spec: WorldSpec
    stores: list[str]


def cell_commands(layout: Layout) -> list[list[Command]]:
    """Per cell, the commands that write its part of the world."""
    cells = layout.spec.cells
    rows: list[list[bytes]] = [[] for _ in range(layout.fleet.servers)]
    for server, assignment in assignments(layout):
        rows[server].append(store.row(assignment))
    out: list[list[Command]] = [[] for _ in range(cells)]
    mentioned = server_tables(layout)
    in_cell: list[set[int]] = [set() for _ in range(cells)]
    for server in range(layout.fleet.servers):
        cell, name = layout.cell[server], server_id(server)
        in_cell[cell] |= mentioned[server]
        tables = json.dumps([layout.tables[t].info.id for t in sorted(mentioned[server])])
        fields = ("epoch", 1, "confirmed", 0, "count", len(rows[server]), "tables", tables)
        out[cell].append(("HSET", f"server:{name}", *fields, "partition", layout.partition[server]))
        out[cell].append(("RPUSH", f"slice:{layout.partition[server]}", name))
        if rows[server]:
            out[cell].append(("RPUSH", f"list:{name}", *rows[server]))
    for cell in range(cells):
        out[cell] += [store.write_table(layout.tables[t].info) for t in sorted(in_cell[cell])]
        out[cell].append(("SET", "version", 1))  # last: a node waits for it
    return out


async def fill(url: str, commands: list[Command]) -> None:
    cell = Store(url)
    try:
        for first in range(0, len(commands), COMMANDS_PER_TRIP):
            await cell.execute(commands[first : first + COMMANDS_PER_TRIP])
    finally:
        await cell.close()


async def main(config: LoaderConfig) -> None:
    layout = make_layout(config.spec, lambda name: Random(f"{config.spec.seed}/{name}"))
    work: list[Any] = [fill(url, commands) for url, commands in zip(config.stores, cell_commands(layout), strict=True)]
    for cell in work:
        await cell


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=LoaderConfig)))
