"""One logical server's data on disk: a SQLite file with the partitions it holds and their items.

Decides what a put, a get and an export see. Never decides which partitions a server should hold (that
is `membership`), and is plain synchronous code, called from the loop for operations of well under 1 ms.
Invariant: a partition in ``held`` is complete, and for every key the highest version ever put is kept
or the partition is lost (refused) until its peers have refilled it. WAL with synchronous=NORMAL: what
was acknowledged survives kill -9, not a power loss.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from cellwall.errors import Refused, Unavailable
from cellwall.quorum import Version

from ..wire import Exported, Get, Got, Put, Row

CACHE_KIB = 64  # of pages per server; 267 servers a process must stay small (guess)
# Pages of write-ahead log before it is folded into the file: 1 MiB. Larger than what one server takes in a
# demo, so that no customer's put waits for the disk; small enough for 267 logs (guess).
CHECKPOINT_PAGES = 256

SCHEMA = (
    # ``epoch``: of the assignment that brought the partition here; another one means that it was away.
    "CREATE TABLE IF NOT EXISTS partitions(name TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS items(partition TEXT, key BLOB, ms INTEGER, count INTEGER, writer TEXT,"
    " item BLOB, checksum INTEGER, PRIMARY KEY(partition, key)) WITHOUT ROWID",
)
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_encode = msgspec.msgpack.Encoder().encode


class Declined(Unavailable):
    """The replica did nothing; ``reason`` is that of a `wire.Refusal`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def row_checksum(partition: str, key: bytes, version: Version, item: bytes | None) -> int:
    """CRC-32 over all that makes up a row, each part with its length (msgpack), so that none can run into the next."""
    return zlib.crc32(_encode((partition, key, version, item)))


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

    def put(self, put: Put) -> None:
        """Keep ``put`` unless the same or a higher version is there."""
        self._must_hold(put.partition)
        with self._border():
            self._keep(put.partition, put.key, put.version, put.item)

    def get(self, get: Get) -> Got:
        self._must_hold(get.partition)
        with self._border():
            found = self._read(get.partition, get.key)
        return Got(None, None) if found is None else Got(*found)

    def export(self, names: Iterable[str]) -> Exported:
        """All rows of those of ``names`` that are held. One that proves damaged is not given away as whole."""
        held: list[str] = []
        rows: list[Row] = []
        with self._border():
            db = self._open()
            for name in names:
                if name not in self._held:
                    continue
                mine = [
                    Row(name, key, Version(ms, count, writer), item, checksum)
                    for key, ms, count, writer, item, checksum in db.execute(
                        "SELECT key, ms, count, writer, item, checksum FROM items WHERE partition = ?", (name,)
                    )
                ]
                bad = [row.key for row in mine if not intact(row)]
                if bad:
                    self._lose(name, bad)
                    continue
                held.append(name)
                rows += mine
        return Exported(held, rows)

    def create(self, partitions: Mapping[str, int], rows: Iterable[Row] = ()) -> None:
        """Hold ``partitions`` (name: epoch) from now on, with ``rows`` from peers; all of it or nothing."""
        with self._border(), self._transaction() as db:
            for row in rows:
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
                db = sqlite3.connect(self._path, isolation_level=None, cached_statements=16, timeout=0)
                try:
                    # A second process on the same files is refused by the lock; it also saves the -shm file.
                    db.execute("PRAGMA locking_mode = EXCLUSIVE")
                    db.execute("PRAGMA synchronous = OFF")  # only while the schema is made: there is no data to lose
                    db.execute("PRAGMA journal_mode = WAL")
                    for statement in SCHEMA:
                        db.execute(statement)
                    db.execute("PRAGMA synchronous = NORMAL")
                    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
                    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
                    self._held = dict(db.execute("SELECT name, epoch FROM partitions"))
                except BaseException:
                    db.close()
                    raise
                self._db = db
        return self._db

    def _must_hold(self, partition: str) -> None:
        self._open()
        if partition not in self._held:
            raise Declined("corrupt" if partition in self._lost else "not-assigned", partition)

    def _read(self, partition: str, key: bytes) -> tuple[Version, bytes | None] | None:
        row = (
            self._open()
            .execute(
                "SELECT ms, count, writer, item, checksum FROM items WHERE partition = ? AND key = ?", (partition, key)
            )
            .fetchone()
        )
        if row is None:
            return None
        ms, count, writer, item, checksum = row
        version = Version(ms, count, writer)
        if row_checksum(partition, key, version, item) != checksum:
            self._lose(partition, [key])
            raise Declined("corrupt", partition)
        return version, item

    def _keep(self, partition: str, key: bytes, version: Version, item: bytes | None) -> None:
        # Read first instead of an upsert: a damaged version in the row must not swallow an acknowledged put.
        found = self._read(partition, key)
        if found is not None and found[0] >= version:
            return
        checksum = row_checksum(partition, key, version, item)
        self._open().execute(
            "INSERT OR REPLACE INTO items VALUES(?, ?, ?, ?, ?, ?, ?)",
            (partition, key, version.ms, version.count, version.writer, item, checksum),
        )

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


def intact(row: Row) -> bool:
    return row_checksum(row.partition, row.key, row.version, row.item) == row.checksum
