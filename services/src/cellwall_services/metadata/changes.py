"""The work behind a change of assignments: one server's list a turn.

Decides what a list becomes; never chooses its turn. What is there already is not added twice and what is gone
raises no epoch, so a change may be sent again, whole or after a part of it. One server's list changes at once or
not at all; the servers of a change follow one another, so that a large one holds nobody up for long. Invariant (I15):
nothing of a server that is on the move changes, nor of a table of such a server.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cellwall.model import CellId

from ..wire import TableChange
from . import copies, store
from .jobs import Conflict, Head, NotFound, read_head
from .store import Command

_encode = msgspec.json.Encoder().encode


class _Slim(msgspec.Struct, gc=False):
    """As much of an `Assignment` as tells which partition it is about."""

    table: str
    index: str
    partition: int
    epoch: int


_decode_slim = msgspec.json.Decoder(_Slim).decode


class TableJob:
    """Change the lists of the servers named, and with each write the table's information: it is nowhere without its
    servers. The answer tells in which epoch each server has the change. A stranger among the servers, or one on the
    move, is found before anything is written."""

    def __init__(self, cell: CellId, change: TableChange) -> None:
        self.records = 0
        self.body = b""
        self._cell = cell
        self._change = change
        self._todo = sorted(change.assignments)
        self._epochs: dict[str, int] = {}
        self._state: Literal["look", "describe", "list", "write", "count"] = "look"
        self._epoch = 0  # that the write under way brings
        self._write: Command = ()

    def want(self) -> list[Command]:
        match self._state:
            case "look":
                table = self._change.table.id
                marks = [copies.read_mark(server) for server in self._todo]
                heads = [store.read_head(server) for server in self._todo]
                return [copies.read_frozen(table), copies.read_info(table), *marks, *heads]
            case "describe":
                table = self._change.table.id
                conditions = [copies.not_frozen(table), copies.knows(table)]
                return [store.if_so(conditions, [store.write_table(self._change.table)])]
            case "list":
                server = self._todo[0]
                frozen, mark = copies.read_frozen(self._change.table.id), copies.read_mark(server)
                return [frozen, mark, store.read_head(server), store.read_list(server)]
            case "write":
                return [self._write]
            case "count":
                return [store.NEXT_VERSION]

    def take(self, answers: list[Any]) -> bool:
        match self._state:
            case "look":
                frozen, known, *rest = answers
                marks, heads = rest[: len(self._todo)], rest[len(self._todo) :]
                for server, answer in zip(self._todo, heads, strict=True):
                    read_head(server, self._cell, answer)
                self._check(frozen, *marks)
                if not self._todo and not known:  # its servers, and with them the table, may have gone to another cell
                    raise NotFound(f"no table {self._change.table.id} in {self._cell}")
                self._state = "list" if self._todo else "describe"
            case "describe":
                self._state = "count" if answers[0] else "look"
            case "list":
                frozen, mark, found, rows = answers
                server, head = self._todo[0], read_head(self._todo[0], self._cell, found)
                self._check(frozen, mark)
                write = self._remove(server, head, rows) if self._change.remove else self._add(server, head, rows)
                conditions = [copies.not_frozen(self._change.table.id), *copies.may_change(server)]
                conditions.append(store.has_epoch(server, head.epoch))
                self._write = store.if_so(conditions, [store.write_table(self._change.table), *write])
                self._state = "write"
            case "write":
                self._state = "list"  # another change may have come in between: read again
                if answers[0]:
                    self._done()
            case "count":
                self.body = _encode(self._epochs)
                return True
        return False

    def _check(self, *marks: bytes | None) -> None:
        if any(marks):
            raise Conflict(f"table {self._change.table.id}: its servers are on the move to another cell, or from one")

    def _done(self) -> None:
        self._epochs[self._todo.pop(0)] = self._epoch
        self._state = "list" if self._todo else "count"

    def _add(self, server: str, head: Head, rows: list[bytes]) -> list[Command]:
        table = self._change.table.id
        there: dict[tuple[str, int], int] = {}
        if table in head.tables:
            mine = (slim for slim in map(_decode_slim, map(store.row_body, rows)) if slim.table == table)
            there = {(slim.index, slim.partition): slim.epoch for slim in mine}
        wanted = self._change.assignments[server]
        lacking = [a for a in wanted if (a.index, a.partition) not in there]
        if not lacking:
            self._epoch = max((there[a.index, a.partition] for a in wanted), default=head.epoch)
            return []
        self._epoch = head.epoch + 1
        added = [msgspec.structs.replace(a, epoch=self._epoch, born=self._epoch) for a in lacking]
        self.records += len(added)
        tables = head.tables if table in head.tables else [*head.tables, table]
        return [
            *store.append_rows(server, map(store.row, added)),
            store.write_head(server, self._epoch, head.count + len(added), tables),
        ]

    def _remove(self, server: str, head: Head, rows: list[bytes]) -> list[Command]:
        table, index = self._change.table.id, self._change.index
        stay: list[bytes] = []
        mentioned = False
        for stored in rows:
            slim = _decode_slim(store.row_body(stored))
            if slim.table != table or (index is not None and slim.index != index):
                stay.append(stored)
                mentioned = mentioned or slim.table == table
        self._epoch = head.epoch
        if len(stay) == len(rows):
            return []
        self._epoch += 1
        self.records += len(rows) - len(stay)
        tables = [name for name in head.tables if name != table or mentioned]
        return [
            store.drop_list(server),
            *store.append_rows(server, stay),
            store.write_head(server, self._epoch, len(stay), tables),
        ]
