"""Fill the cells' stores with their parts of a world: `python -m cellwall_services.metadata.loader CONFIG.json`.

Decides only which stores are filled: those without a version. What goes in follows from spec and seed
(`placement`). Invariant: a store that has a version is left as it is, whoever asks again; nobody was ever served
from one that has none, so what an interrupted filling left there is removed first.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from random import Random

import msgspec

from cellwall.errors import CellwallError, Refused, Unavailable
from cellwall.placement import Layout, assignments, make_layout, server_id, server_tables
from cellwall.spec import WorldSpec

from . import store
from .store import Command, Store

COMMANDS_PER_TRIP = 500
ASK_EVERY_S = 0.5  # a store that does not answer yet (guess)


class LoaderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``stores``: the store's URL of each cell, by cell number. ``wait_s``: how long a store may take to answer for
    the first time; a volume and an image may have to come first (guess). ``durable``: a store that keeps nothing on
    disk is told to, once it is filled; filling it as an append-only file would cost twice as much."""

    spec: WorldSpec
    stores: list[str]
    wait_s: float = 300.0
    durable: bool = False


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


async def is_filled(cell: Store, deadline_s: float) -> bool:
    """Whether the store has a version; asked again until ``deadline_s`` (monotonic) while it does not answer."""
    while True:
        try:
            return (await cell.execute([store.READ_VERSION]))[0] is not None
        except Unavailable:
            if time.monotonic() >= deadline_s:
                raise
        await asyncio.sleep(ASK_EVERY_S)


async def fill(cell: Store, commands: list[Command]) -> None:
    await cell.execute([("FLUSHDB",)])
    for first in range(0, len(commands), COMMANDS_PER_TRIP):
        await cell.execute(commands[first : first + COMMANDS_PER_TRIP])


async def main(config: LoaderConfig) -> None:
    if len(config.stores) != config.spec.cells:
        raise Refused(f"stores: {len(config.stores)} are not allowed; it must be one a cell = {config.spec.cells}")
    deadline_s = time.monotonic() + config.wait_s
    cells = [Store(url) for url in config.stores]
    try:
        filled = await asyncio.gather(*(is_filled(cell, deadline_s) for cell in cells))
        if all(filled):
            return
        layout = make_layout(config.spec, lambda name: Random(f"{config.spec.seed}/{name}"))
        for cell, done, commands in zip(cells, filled, cell_commands(layout), strict=True):
            if not done:
                await fill(cell, commands)
        if config.durable:
            await asyncio.gather(*(cell.execute([store.KEEP_ON_DISK]) for cell in cells))
    finally:
        for cell in cells:
            await cell.close()


def read(path: Path) -> LoaderConfig:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LoaderConfig)
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise Refused(f"{path}: {error}") from None


if __name__ == "__main__":
    try:
        asyncio.run(main(read(Path(sys.argv[1]))))
    except CellwallError as error:
        print(f"cellwall-loader: {error}", file=sys.stderr)
        sys.exit(3 if isinstance(error, Refused) else 1)
