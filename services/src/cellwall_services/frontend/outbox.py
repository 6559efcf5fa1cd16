"""What must yet be done for secondary indexes, on disk: neither a kill nor an outage may lose it.

Decides nothing. Holds the writes of items whose outcome or whose consequences are not known yet, the entries
that must yet be written, and the tables that ever had an entry: the others cost nothing, because what was
never written need not be taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from cellwall.model import TableId
from cellwall.quorum import Version

from .durable import opened, transaction, written
from .indexes import EntryWrite

WHAT = "the outbox of index entries"
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS kept (id TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS writes (number INTEGER PRIMARY KEY, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY, body BLOB NOT NULL)",
)

_encode = msgspec.msgpack.Encoder().encode


class Write(msgspec.Struct, frozen=True):
    """A write of an item that is about to be sent, or has been. ``partition``: of the table."""

    table: TableId
    partition: int
    key: bytes
    version: Version
    item: bytes | None


class Due(msgspec.Struct, frozen=True):
    """An entry of a table's index that must be written."""

    table: TableId
    entry: EntryWrite


_write = msgspec.msgpack.Decoder(Write)
_due = msgspec.msgpack.Decoder(Due)


class Outbox:
    """All of it in memory, each change written through. Raises `Unavailable` if it cannot be."""

    def __init__(self, path: Path) -> None:
        with opened(path, WHAT, SCHEMA) as self._db:
            self._kept = {table for (table,) in self._db.execute("SELECT id FROM kept")}
            self.writes = {n: _write.decode(body) for n, body in self._db.execute("SELECT number, body FROM writes")}
            self.entries = {n: _due.decode(body) for n, body in self._db.execute("SELECT number, body FROM entries")}
        self._last: int = max([0, *self.writes, *self.entries])

    def kept(self, table: TableId) -> bool:
        """Whether the table has, or had, an index entry."""
        return table in self._kept

    def keep(self, table: TableId) -> None:
        if table not in self._kept:
            with written(WHAT):
                self._db.execute("INSERT OR IGNORE INTO kept VALUES (?)", (table,))
            self._kept.add(table)

    def begin(self, write: Write) -> int:
        """Note a write before it is sent; its number."""
        number = self._next()
        with written(WHAT):
            self._db.execute("INSERT INTO writes VALUES (?, ?)", (number, _encode(write)))
        self.writes[number] = write
        return number

    def settle(self, number: int, entries: Sequence[EntryWrite] = ()) -> dict[int, Due]:
        """A write is over, and these entries follow from it: both at once. Their numbers."""
        table = self.writes[number].table
        due = {self._next(): Due(table, entry) for entry in entries}
        with written(WHAT), transaction(self._db):
            self._db.execute("DELETE FROM writes WHERE number = ?", (number,))
            self._db.executemany("INSERT INTO entries VALUES (?, ?)", [(n, _encode(d)) for n, d in due.items()])
        del self.writes[number]
        self.entries.update(due)
        return due

    def done(self, number: int) -> None:
        """An entry is written."""
        with written(WHAT):
            self._db.execute("DELETE FROM entries WHERE number = ?", (number,))
        del self.entries[number]

    def close(self) -> None:
        self._db.close()

    def _next(self) -> int:
        self._last += 1
        return self._last
