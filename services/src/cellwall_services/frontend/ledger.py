"""The tables that this front end created, changed or deleted, on disk: what a restart must know.

Decides nothing. Keeps a table's whole definition, its state and, while a workflow is under way, which step
it has come to and what the step needs. A deleted table leaves its id behind, so that a map that was read before
does not show it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from cellwall.model import ServerId, TableId, TableInfo

from .durable import opened, written
from .placing import Routes
from .schema import Definition

WHAT = "the ledger of tables"
SCHEMA = ("CREATE TABLE IF NOT EXISTS tables (id TEXT PRIMARY KEY, entry BLOB NOT NULL)",)

State = Literal["CREATING", "UPDATING", "ACTIVE", "DELETING", "DELETED"]
Step = Literal["place", "post", "confirm", "backfill", "finish", "done"]
UNFINISHED: tuple[State, ...] = ("CREATING", "UPDATING", "DELETING")


class Entry(msgspec.Struct, frozen=True):
    """``step`` is the next one to take. ``index``: the one that an update adds or removes. ``routes``: where the
    partitions in question are. ``targets``: the epoch that each server must confirm."""

    info: TableInfo
    definition: Definition
    state: State
    step: Step = "done"
    since_s: float = 0.0
    index: str = ""
    routes: Routes = {}
    targets: dict[ServerId, int] = {}

    @property
    def removes(self) -> bool:
        """Whether partitions go away."""
        if self.state == "UPDATING":
            return any(i.name == self.index and i.status == "DELETING" for i in self.info.indexes)
        return self.state == "DELETING"


class Ledger:
    """All entries in memory, each change written through."""

    def __init__(self, path: Path) -> None:
        with opened(path, WHAT, SCHEMA) as self._db:
            rows = self._db.execute("SELECT id, entry FROM tables ORDER BY id").fetchall()
            self._entries = {table: msgspec.json.decode(raw, type=Entry) for table, raw in rows}
        self._live: dict[tuple[str, str], Entry] = {}
        for entry in self._entries.values():
            self._note(entry)

    def get(self, table: TableId) -> Entry | None:
        return self._entries.get(table)

    def put(self, entry: Entry) -> None:
        """On disk before in memory: a state that a customer sees outlives a kill. `Unavailable` if it cannot."""
        row = entry.info.id, msgspec.json.encode(entry)
        with written(WHAT):
            self._db.execute("INSERT OR REPLACE INTO tables VALUES (?, ?)", row)
        self._entries[entry.info.id] = entry
        self._note(entry)

    def live(self, customer: str, name: str) -> Entry | None:
        """The customer's table of that name, unless it is deleted or this front end never changed it."""
        return self._live.get((customer, name))

    def live_names(self, customer: str) -> list[str]:
        return [name for owner, name in self._live if owner == customer]

    def unfinished(self) -> list[Entry]:
        return [e for e in self._entries.values() if e.state in UNFINISHED]

    def _note(self, entry: Entry) -> None:
        key = entry.info.customer, entry.info.name
        if entry.state != "DELETED":
            self._live[key] = entry
        elif key in self._live and self._live[key].info.id == entry.info.id:
            del self._live[key]

    def close(self) -> None:
        self._db.close()
