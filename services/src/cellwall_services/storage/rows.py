"""Rows in a server's file: the schema, the statements that read and write them, and their checksum.

Decides how a row looks on disk and whether it is intact; never which rows a server should have, and never
what damage means (`engine`). SQLite's errors pass through: `engine` is their border.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cellwall.quorum import Version

from ..wire import Range, Row

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
SELECT = "SELECT key, ms, count, writer, item, checksum FROM items WHERE partition = ?"

_encode = msgspec.msgpack.Encoder().encode


def row_checksum(partition: str, key: bytes, version: Version, item: bytes | None) -> int:
    """CRC-32 over all that makes up a row, each part with its length (msgpack), so that none can run into the next."""
    return zlib.crc32(_encode((partition, key, version, item)))


def intact(row: Row) -> bool:
    return row_checksum(row.partition, row.key, row.version, row.item) == row.checksum


def open_file(path: Path) -> sqlite3.Connection:
    """The file, made if it is not there."""
    db = sqlite3.connect(path, isolation_level=None, cached_statements=16, timeout=0)
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
    except BaseException:
        db.close()
        raise
    return db


def one(db: sqlite3.Connection, partition: str, key: bytes) -> Row | None:
    return next(_rows(partition, db.execute(f"{SELECT} AND key = ?", (partition, key))), None)


def every(db: sqlite3.Connection, partition: str) -> Iterator[Row]:
    """All rows of a partition."""
    return _rows(partition, db.execute(SELECT, (partition,)))


def scan(db: sqlite3.Connection, partition: str, bounds: Range, limit: int) -> Iterator[Row]:
    """Rows of a partition within the bounds, in order: one walk along the primary key."""
    return _rows(partition, db.execute(*scan_statement(partition, bounds, limit)))


def scan_statement(partition: str, bounds: Range, limit: int) -> tuple[str, tuple[object, ...]]:
    order = "DESC" if bounds.backward else "ASC"
    if bounds.last:
        return (
            f"{SELECT} AND key >= ? AND key < ? ORDER BY key {order} LIMIT ?",
            (partition, bounds.first, bounds.last, limit),
        )
    return f"{SELECT} AND key >= ? ORDER BY key {order} LIMIT ?", (partition, bounds.first, limit)


def write(db: sqlite3.Connection, row: Row) -> None:
    ms, count, writer = row.version.ms, row.version.count, row.version.writer
    db.execute(
        "INSERT OR REPLACE INTO items VALUES(?, ?, ?, ?, ?, ?, ?)",
        (row.partition, row.key, ms, count, writer, row.item, row.checksum),
    )


def _rows(partition: str, found: sqlite3.Cursor) -> Iterator[Row]:
    for key, ms, count, writer, item, checksum in found:
        yield Row(partition, key, Version(ms, count, writer), item, checksum)
