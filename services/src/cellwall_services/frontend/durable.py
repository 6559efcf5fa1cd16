"""The front end's SQLite files: how one is opened, and in which words its troubles are told.

Decides nothing about what a file holds. A commit is in the write-ahead log before it returns, and the log is not
flushed (synchronous=NORMAL): what was written survives a kill, not a power loss.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from cellwall.errors import Refused, Unavailable


@contextlib.contextmanager
def opened(path: Path, what: str, schema: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """The file with its tables, for a block that reads what is there; it stays open unless the block fails.

    Refused, with ``what`` the file is for, if it is no such file or its rows cannot be decoded."""
    try:
        db = sqlite3.connect(path, isolation_level=None)
    except sqlite3.Error as error:
        raise Refused(f"{path}: cannot be opened ({error})") from None
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        for statement in schema:
            db.execute(statement)
        yield db
    except (sqlite3.Error, msgspec.DecodeError) as error:
        db.close()
        raise Refused(f"{path}: cannot be used as {what} ({error})") from None
    except BaseException:
        db.close()
        raise


@contextlib.contextmanager
def written(what: str) -> Iterator[None]:
    """Unavailable if the block cannot write."""
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"{what} cannot be written ({error})") from None


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All that the block writes, or nothing of it."""
    db.execute("BEGIN")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # also after a commit for which the disk was too full: the next BEGIN would be refused
            db.execute("ROLLBACK")
        raise
