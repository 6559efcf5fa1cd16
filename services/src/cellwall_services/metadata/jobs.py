"""The work behind each request, in pages: what to read next, and what to do with it.

Decides content only: `want` names the store commands of the next page, `take` decodes and bundles their
answers and says whether the job is complete. Never waits, never chooses its turn. The cost is real: every
record is checked, decoded, joined with its table and encoded again, one page at a time.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from cellwall.errors import Refused
from cellwall.model import Assignment, CellId, TableInfo, hash_slice

from ..wire import TableChange
from . import store
from .store import Command

_encode = msgspec.json.Encoder().encode
_decode_row = msgspec.json.Decoder(Assignment).decode
_decode_table = msgspec.json.Decoder(TableInfo).decode
_decode_names = msgspec.json.Decoder(list[str]).decode


PAGES_PER_TRIP = 4  # read ahead: a lone request would else pay a trip (0.13 ms) for every 50 records (0.18 ms)


class Job(Protocol):
    """One request's work. ``body`` is the answer once `take` has returned True, ``records`` how many are done."""

    body: bytes
    records: int

    def want(self) -> list[Command]: ...

    def take(self, answers: list[Any]) -> bool: ...


class NotFound(Refused):
    """The store holds no such thing; answered with 404."""


def misfit(assignment: Assignment, tables: dict[str, TableInfo], epoch: int) -> str | None:
    """Why a record cannot be true, given its table and its server's epoch; None if it can. A membership with
    such a record is not sent: a server would act on it."""
    info = tables.get(assignment.table)
    if info is None:
        return "belongs to no known table"
    partitions = info.partitions
    if assignment.index:
        partitions = next((index.partitions for index in info.indexes if index.name == assignment.index), 0)
    if not 0 <= assignment.partition < partitions:
        return f"its {assignment.index or 'table'} has {partitions} partitions"
    if (assignment.lo, assignment.hi) != hash_slice(assignment.partition, partitions):
        return f"does not own [{assignment.lo}, {assignment.hi})"
    if not assignment.born <= assignment.epoch <= epoch:
        return f"born in {assignment.born}, assigned in {assignment.epoch}, but the server's epoch is {epoch}"
    return None


class MembershipJob:
    """Look the server up, read its tables, read and bundle its list page by page."""

    def __init__(self, cell: CellId, server: str, page_records: int) -> None:
        self.server = server
        self.records = 0
        self.body = b""
        self._cell = cell
        self._page = page_records
        self._head: tuple[int, int, int] | None = None  # epoch, confirmed, count
        self._names: list[str] = []
        self._tables: dict[str, TableInfo] | None = None
        self._ahead: list[bytes] = []  # rows read and not yet worked on
        self._rows: list[bytes] = []

    def want(self) -> list[Command]:
        if self._head is None:
            return [store.read_head(self.server)]
        if self._ahead:
            return []
        # Never beyond the count read first: rows that are added meanwhile belong to the next epoch.
        count = min(self._page * PAGES_PER_TRIP, self._head[2] - self.records)
        rows = store.read_page(self.server, self.records, count)
        if self._tables is None:
            return [store.read_tables(self._names), rows] if self._names else [rows]
        return [rows]

    def take(self, answers: list[Any]) -> bool:
        if self._head is None:
            epoch, confirmed, count, names = answers[0]
            if epoch is None:
                raise NotFound(f"no server {self.server} in {self._cell}")
            self._head = (int(epoch), int(confirmed), int(count))
            self._names = _decode_names(names)
            return self._head[2] == 0 and self._finish()
        if self._tables is None:
            bodies = answers[0] if self._names else []
            self._tables = {info.id: info for info in map(_decode_table, filter(None, bodies))}
        if answers:
            self._ahead = answers[-1]
        self._bundle(self._ahead[: self._page])
        del self._ahead[: self._page]
        return self.records >= self._head[2] and self._finish()

    def _bundle(self, rows: list[bytes]) -> None:
        assert self._head is not None and self._tables is not None
        if not rows:
            raise Refused(f"{self.server}: the list ends after {self.records} of {self._head[2]} records")
        tables, out = self._tables, self._rows
        for stored in rows:
            assignment = _decode_row(store.row_body(stored))
            if reason := misfit(assignment, tables, self._head[0]):
                raise Refused(f"{self.server}: {assignment.key}: {reason}")
            out.append(_encode(assignment))
        self.records += len(rows)

    def _finish(self) -> bool:
        assert self._head is not None
        epoch, confirmed, count = self._head
        # The fields of model.Membership, with the rows as they were encoded page by page.
        self.body = b'{"server":%b,"cell":%b,"epoch":%d,"confirmed":%d,"count":%d,"tables":%b,"assignments":[%b]}' % (
            _encode(self.server),
            _encode(self._cell),
            epoch,
            confirmed,
            count,
            _encode(self._tables or {}),
            b",".join(self._rows),
        )
        self._rows = []
        return True


class MapJob:
    """The map of one metadata partition: every membership in it, one after the other."""

    def __init__(self, cell: CellId, partition: int, page_records: int) -> None:
        self.body = b""
        self._cell, self._partition, self._page = cell, partition, page_records
        self._version: int | None = None
        self._jobs: list[MembershipJob] = []
        self._done: list[bytes] = []
        self.records = 0

    def want(self) -> list[Command]:
        if self._version is None:
            return [store.READ_VERSION, store.read_slice(self._partition)]
        return self._jobs[-1].want()

    def take(self, answers: list[Any]) -> bool:
        if self._version is None:
            self._version = int(answers[0] or 0)
            self._jobs = [MembershipJob(self._cell, name.decode(), self._page) for name in reversed(answers[1])]
        else:
            job = self._jobs[-1]
            before = job.records
            if job.take(answers):
                self._done.append(self._jobs.pop().body)
            self.records += job.records - before
        if self._jobs:
            return False
        self.body = b'{"cell":%b,"partition":%d,"version":%d,"memberships":[%b]}' % (
            _encode(self._cell),
            self._partition,
            self._version,
            b",".join(self._done),
        )
        return True


ROWS_PER_COMMAND = 1000  # the store's scripts take about 8,000 words at once


class TableJob:
    """Write a table's information and change the assignments of the servers named, all or nothing."""

    body = b""

    def __init__(self, change: TableChange) -> None:
        self.records = 0
        self._change = change
        self._servers = sorted(change.assignments)
        self._write: Command | None = None

    def want(self) -> list[Command]:
        if self._write is None and not self._servers:
            self._prepare([])  # nothing to read first
        if self._write is not None:
            return [self._write]
        commands: list[Command] = [store.read_head(server) for server in self._servers]
        if self._change.remove:
            commands += [("LRANGE", f"list:{server}", 0, -1) for server in self._servers]
        return commands

    def take(self, answers: list[Any]) -> bool:
        if self._write is None:
            self._prepare(answers)
            return False
        self._write = None
        return bool(answers[0])  # else another change came in between: read again

    def _prepare(self, answers: list[Any]) -> None:
        heads, lists = answers[: len(self._servers)], answers[len(self._servers) :]
        for server, head in zip(self._servers, heads, strict=True):
            if head[0] is None:
                raise NotFound(f"no server {server} in this cell")
        epochs = {server: int(head[0]) for server, head in zip(self._servers, heads, strict=True)}
        self._write = store.if_unchanged(epochs, self._commands(heads, lists))

    def _commands(self, heads: list[Any], lists: list[Any]) -> list[Command]:
        table = self._change.table
        commands: list[Command] = [store.write_table(table)]
        for i, server in enumerate(self._servers):
            epoch, count, names = int(heads[i][0]) + 1, int(heads[i][2]), _decode_names(heads[i][3])
            if self._change.remove:
                gone = [stored for stored in lists[i] if _decode_row(store.row_body(stored)).table == table.id]
                commands += [("LREM", f"list:{server}", 1, stored) for stored in gone]
                count -= len(gone)
                names = [name for name in names if name != table.id]
            else:
                # A change that was answered too late is sent again: what is there already is not added twice.
                if table.id in names:
                    continue
                added = [msgspec.structs.replace(a, epoch=epoch, born=epoch) for a in self._change.assignments[server]]
                for first in range(0, len(added), ROWS_PER_COMMAND):
                    rows = map(store.row, added[first : first + ROWS_PER_COMMAND])
                    commands.append(("RPUSH", f"list:{server}", *rows))
                count += len(added)
                names.append(table.id)
            fields = ("epoch", epoch, "count", count, "tables", _encode(names))
            commands.append(("HSET", f"server:{server}", *fields))
        commands.append(("INCR", "version"))
        return commands
