"""One logical server's data on disk: a SQLite file with the partitions it holds and their items.

Decides what a put, a get, a range read and an export see. Never decides which partitions a server should
hold (that is `membership`), and is plain synchronous code, called from the loop for operations of well
under 1 ms (a range read or an export of much data takes a few). Invariant: a partition in ``held`` is
complete, and for every key the highest version ever put is kept or the partition is lost (refused) until
its peers have refilled it. WAL with synchronous=NORMAL: what was acknowledged survives kill -9, not a
power loss.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from cellwall.errors import Refused, Unavailable
from cellwall.quorum import Version

from ..wire import Exported, Get, Got, Put, Range, Ranged, Row, Stored
from . import rows
from .rows import intact, row_checksum

# Of keys and items in one answer to a range read: what a customer's page holds (Developer Guide: 1 MB a Query), and
# a few milliseconds of the host's loop, on which hundreds of servers wait.
RANGE_BYTES_MAX = 1 << 20
ROW_BYTES = 64  # what a row counts beside its key and item: partition, version and checksum (guess)
RANGE_ROWS_MAX = RANGE_BYTES_MAX // ROW_BYTES

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Declined(Unavailable):
    """The replica did nothing; ``reason`` and ``partitions`` are those of a `wire.Refusal`."""

    def __init__(self, reason: str, detail: str = "", partitions: Sequence[str] = ()) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.partitions = list(partitions)


class Store:
    """The file of one server; opened (and made) at first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._held: dict[str, int] = {}
        self._lost: set[str] = set()  # held until found damaged: refused as corrupt, not as foreign

    @property
    def held(self) -> Mapping[str, int]:
        """The partitions held whole, with the epoch of the assignment that brought each."""
        self._open()
        return self._held

    def put(self, put: Put) -> Stored:
        """Keep ``put`` unless the same or a higher version is there."""
        self._must_hold(put.partition)
        with self._border():
            before = self._keep(put.partition, put.key, put.version, put.item)
        return Stored(*before) if put.learn and before is not None else Stored()

    def get(self, get: Get) -> Got:
        self._must_hold(get.partition)
        with self._border():
            found = self._read(get.partition, get.key)
        return Got(None, None) if found is None else Got(*found)

    def range(self, asked: Range) -> Ranged:
        """Rows of partitions that are all held, one index scan each, until the limit or `RANGE_BYTES_MAX` is full."""
        if asked.limit < 1:
            raise Refused(f"limit: {asked.limit} is not allowed; it must be at least 1")
        self._must_hold(*asked.partitions)
        limit = min(asked.limit, RANGE_ROWS_MAX)
        found: list[Row] = []
        size_bytes = 0
        with self._border():
            for name in asked.partitions:
                # One row more than may be told, so that ``more`` is never said of an end.
                for row in rows.scan(self._open(), name, asked, limit - len(found) + 1):
                    if not intact(row):
                        self._lose(name, [row.key])
                        raise Declined("corrupt", name, [name])
                    size_bytes += ROW_BYTES + len(row.key) + len(row.item or b"")
                    if found and (len(found) == limit or size_bytes > RANGE_BYTES_MAX):
                        return Ranged(found, True)
                    found.append(row)
        return Ranged(found, False)

    def export(self, names: Iterable[str]) -> Exported:
        """All rows of those of ``names`` that are held. One that proves damaged is not given away as whole."""
        held: list[str] = []
        found: list[Row] = []
        with self._border():
            db = self._open()
            for name in names:
                if name not in self._held:
                    continue
                mine = list(rows.every(db, name))
                bad = [row.key for row in mine if not intact(row)]
                if bad:
                    self._lose(name, bad)
                    continue
                held.append(name)
                found += mine
        return Exported(held, found)

    def create(self, partitions: Mapping[str, int], received: Iterable[Row] = ()) -> None:
        """Hold ``partitions`` (name: epoch) from now on, with rows received from peers; all of it or nothing."""
        with self._border(), self._transaction() as db:
            for row in received:
                try:
                    self._keep(row.partition, row.key, row.version, row.item)
                except Declined:  # the row here is damaged, and now out of the way
                    self._keep(row.partition, row.key, row.version, row.item)
            db.executemany("INSERT OR REPLACE INTO partitions VALUES(?, ?)", partitions.items())
        self._held.update(partitions)
        self._lost.difference_update(partitions)

    def withhold(self, names: Iterable[str]) -> None:
        """Refuse these until `create` says that they are whole again; their rows stay."""
        with self._border():
            for name in names:
                self._lose(name, ())

    def drop(self, names: Iterable[str]) -> None:
        """Forget partitions and their items."""
        gone = [(name,) for name in names]
        with self._border(), self._transaction() as db:
            db.executemany("DELETE FROM items WHERE partition = ?", gone)
            db.executemany("DELETE FROM partitions WHERE name = ?", gone)
        for (name,) in gone:
            self._held.pop(name, None)
            self._lost.discard(name)

    def close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):  # nothing is lost: the log is read at the next start
                self._db.close()
            self._db = None

    # ------------------------------------------------------------ inside

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            with self._border():
                db = rows.open_file(self._path)
                try:
                    self._held = dict(db.execute("SELECT name, epoch FROM partitions"))
                except BaseException:
                    db.close()
                    raise
                self._db = db
        return self._db

    def _must_hold(self, *partitions: str) -> None:
        self._open()
        lacking = [name for name in partitions if name not in self._held]
        if lacking:
            reason = "corrupt" if self._lost.issuperset(lacking) else "not-assigned"
            raise Declined(reason, ", ".join(lacking), lacking)

    def _read(self, partition: str, key: bytes) -> tuple[Version, bytes | None] | None:
        row = rows.one(self._open(), partition, key)
        if row is None:
            return None
        if not intact(row):
            self._lose(partition, [key])
            raise Declined("corrupt", partition)
        return row.version, row.item

    def _keep(
        self, partition: str, key: bytes, version: Version, item: bytes | None
    ) -> tuple[Version, bytes | None] | None:
        """What was there before."""
        # Read first instead of an upsert: a damaged version in the row must not swallow an acknowledged put.
        before = self._read(partition, key)
        if before is None or before[0] < version:
            rows.write(self._open(), Row(partition, key, version, item, row_checksum(partition, key, version, item)))
        return before

    def _lose(self, partition: str, keys: Iterable[bytes]) -> None:
        """Refuse the whole partition from now on, across restarts: without ``keys`` a read would seem to find nothing.
        Its sound rows stay and are merged with those of the peers."""
        db = self._open()
        db.execute("DELETE FROM partitions WHERE name = ?", (partition,))
        db.executemany("DELETE FROM items WHERE partition = ? AND key = ?", [(partition, key) for key in keys])
        self._held.pop(partition, None)
        self._lost.add(partition)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._open()
        db.execute("BEGIN")
        try:
            yield db
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    @contextlib.contextmanager
    def _border(self) -> Iterator[None]:
        """The one place where SQLite's errors become ours."""
        try:
            yield
        except OverflowError:
            raise Refused("version: must fit into 63 bits") from None
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in DAMAGED:
                self._set_aside()
                raise Declined("corrupt", f"{self._path.name}: {error}") from None
            if isinstance(error, sqlite3.OperationalError):  # full, locked, unreadable
                raise Declined("storage", f"{self._path.name}: {error}") from None
            raise

    def _set_aside(self) -> None:
        """The file itself is damaged: keep it for whoever asks why, start an empty one; peers refill it."""
        self.close()
        self._lost.update(self._held)
        self._held = {}
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        if self._path.exists():
            self._path.replace(self._path.with_name(self._path.name + ".corrupt"))
