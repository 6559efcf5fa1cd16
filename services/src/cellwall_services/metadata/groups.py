"""The work behind a move's steps in one cell: look, decide by `cellwall.moves`, write if nothing came in between.

Decides what is to be written; never which step is due, and never its turn: a step is an administrative request like any
other and starves like one. All servers of a group change phase in one command of the store, or none. Invariant (I15):
nothing is written that `moves.after` refuses for what is there in that very moment.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cellwall.cells import lightest_slices
from cellwall.errors import Refused
from cellwall.model import Assignment, ServerId, TableInfo
from cellwall.moves import ENDS, Copy, Holding, Phase, Request, Verb, after, may_drop

from . import copies, store
from .jobs import Conflict, misfit
from .store import Command

SERVERS_PER_TURN = 100  # a turn on the other servers of a cell takes well below a millisecond

_encode = msgspec.json.Encoder().encode
_decode_names = msgspec.json.Decoder(list[str]).decode
_decode_infos = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_assignment = msgspec.json.Decoder(Assignment).decode


def allowed(holding: Holding, verb: Verb, move: int) -> Phase:
    try:
        return after(holding, verb, move)
    except Refused as error:
        raise Conflict(str(error)) from None


class StepJob:
    """One step of a move. ``verb`` fetch is its end here: what has arrived becomes ready. Answers a `Holding`."""

    def __init__(self, verb: Verb, request: Request, partitions: int) -> None:
        self.records = 0
        self.body = b""
        self._verb = verb
        self._request = request
        self._slices = partitions
        self._written = verb == "look"
        self._state: Literal["look", "slices", "others", "write"] = "look"
        self._write: Command = ()
        self._begin()

    def _begin(self) -> None:
        self._state = "look"
        self._tables: set[str] = set()  # of the group
        self._infos: dict[str, bytes] = {}
        self._others: list[tuple[int, ServerId]] = []  # in which slice
        self._used: set[str] = set()  # tables that others here mention
        self._load = [0] * self._slices
        self._count = [0] * self._slices

    # ------------------------------------------------------------ pages

    def want(self) -> list[Command]:
        servers = self._request.servers
        match self._state:
            case "look":
                wanted = [copies.READ_OVER, *(c for server in servers for c in copies.read_copy(server))]
                if not self._written:
                    wanted += [copies.read_names(server) for server in servers]
                    wanted += [copies.read_arrived(server) for server in servers]
                return wanted
            case "slices":
                return [store.read_slice(partition) for partition in range(self._slices)]
            case "others":
                return [copies.read_weight(server) for _, server in self._others[-SERVERS_PER_TURN:]]
            case "write":
                return [self._write]

    def take(self, answers: list[Any]) -> bool:
        match self._state:
            case "look":
                return self._look(answers)
            case "slices":
                mine = set(self._request.servers)
                for partition, names in enumerate(answers):
                    self._others += [(partition, s) for s in map(bytes.decode, names) if s not in mine]
                self._state = "others"
            case "others":
                for (partition, _), (count, names) in zip(self._others[-SERVERS_PER_TURN:], answers, strict=True):
                    self._load[partition] += int(count or 0)
                    self._count[partition] += 1
                    self._used.update(_decode_names(names or b"[]"))
                del self._others[-SERVERS_PER_TURN:]
                if not self._others:
                    self._prepare()
            case "write":
                self._written = bool(answers[0])
                self._begin()
        return False

    def _look(self, answers: list[Any]) -> bool:
        servers = self._request.servers
        self._over, self._holding = copies.found(servers, answers[: 1 + 2 * len(servers)])
        if self._written:
            self.body = _encode(self._holding)
            return True
        self._phase = allowed(self._holding, self._verb, self._request.move)
        here, arrived = answers[1 + 2 * len(servers) : 1 + 3 * len(servers)], answers[1 + 3 * len(servers) :]
        for names, (more, infos) in zip(here, arrived, strict=True):
            self._tables |= {*_decode_names(names or b"[]"), *_decode_names(more or b"[]")}
            self._infos |= {table: bytes(raw) for table, raw in _decode_infos(infos or b"{}").items()}
        if self._holding.phase == self._phase and self._verb not in ENDS:
            self._written = True  # taken before
        elif self._verb in ("fetch", "drop", "forget") and self._holding.phase != self._phase:
            self._state = "slices"
        else:
            self._prepare()
        return False

    # ------------------------------------------------------------ what is to be written

    def _prepare(self) -> None:
        move, held = self._request.move, self._holding.copies
        commands: list[Command] = []
        if self._holding.phase != self._phase:
            match self._verb:
                case "freeze":
                    commands += [copies.write_mark(server, "leaving", move) for server in held]
                    commands += copies.freeze_tables(self._tables, move)
                case "unfreeze" | "settle":
                    commands += [copies.drop_mark(server) for server in held]
                    commands += copies.thaw_tables(self._tables)
                    commands += [store.NEXT_VERSION] if self._verb == "settle" else []
                case "drop" | "forget":
                    if self._verb == "drop" and not may_drop(self._holding, self._request.held):
                        raise Conflict(f"drop of move {move}: the target does not hold the same lists")
                    commands += [c for server, copy in held.items() for c in copies.drop_server(server, copy)]
                    commands += copies.thaw_tables(self._tables)
                    commands += copies.drop_tables(self._tables - self._used)
                    commands += [copies.NEXT_SLICES, store.NEXT_VERSION]
                case "fetch":
                    commands += self._bring_in()
        if self._verb in ENDS and (self._over or 0) < move:
            commands.append(copies.write_over(move))
        conditions = [c for server, copy in held.items() for c in copies.as_found(self._over, server, copy)]
        self._write = store.if_so(conditions, commands)
        self._state = "write"

    def _bring_in(self) -> list[Command]:
        """Nothing here says yet that the servers exist: all of them come into being in one command."""
        move, held, told = self._request.move, self._holding.copies, self._request.held
        for server, copy in held.items():
            if (copy.phase, copy.move) != ("arriving", move):
                raise Conflict(f"fetch of move {move}: {server} has not arrived")
            if not copy.same_list(told.get(server, Copy())):
                raise Conflict(f"fetch of move {move}: the source's list of {server} is another one by now")
        slices = lightest_slices(self._load, self._count, [(server, copy.count) for server, copy in held.items()])
        return [
            *(c for server, copy in held.items() for c in copies.bring_in(server, copy.count, slices[server], move)),
            # Of a table that others here mention, the information is here and no older.
            *(copies.write_info(table, info) for table, info in self._infos.items() if table not in self._used),
            copies.NEXT_SLICES,
        ]


class _Told(msgspec.Struct):
    """A `model.Membership` whose assignments are decoded one page a turn."""

    server: ServerId
    epoch: int
    confirmed: int
    count: int
    tables: msgspec.Raw
    assignments: list[msgspec.Raw]


class ArriveJob:
    """Write what the source told of one server, checked record by record as a renewal's are. Nobody sees it yet."""

    def __init__(self, move: int, server: ServerId, body: bytes, page_records: int) -> None:
        self.records = 0
        self.body = b""
        self._move, self._server, self._page = move, server, page_records
        try:
            told = msgspec.json.decode(body, type=_Told)
            self._tables = msgspec.json.decode(told.tables, type=dict[str, TableInfo])
        except msgspec.DecodeError as error:
            raise Refused(f"copy of {server}: {error}") from None
        if told.server != server or told.count != len(told.assignments):
            raise Refused(f"copy of {server}: {told.count} records of {told.server}, {len(told.assignments)} came")
        self._told = told
        self._rows: list[bytes] = []
        self._found: tuple[int | None, Copy] | None = None

    def want(self) -> list[Command]:
        if len(self._rows) < self._told.count:
            return []
        if self._found is None:
            return [copies.READ_OVER, *copies.read_copy(self._server)]
        copy = Copy("arriving", self._move, self._told.epoch, self._told.confirmed, self._told.count)
        over, there = self._found
        # What an older move left behind makes room.
        clear = [] if there.phase == "absent" else copies.drop_server(self._server, there)
        arrive = copies.write_arriving(self._server, copy, bytes(self._told.tables), list(self._tables), self._rows)
        return [store.if_so(copies.as_found(over, self._server, there), [*clear, *arrive])]

    def take(self, answers: list[Any]) -> bool:
        if len(self._rows) < self._told.count:
            first = len(self._rows)
            for raw in self._told.assignments[first : first + self._page]:
                assignment = _decode_assignment(raw)
                if reason := misfit(assignment, self._tables, self._told.epoch):
                    raise Refused(f"copy of {self._server}: {assignment.key}: {reason}")
                self._rows.append(store.row_of(bytes(raw)))
            self.records += len(self._rows) - first
            return False
        if self._found is None:
            over, holding = copies.found([self._server], answers)
            phase = allowed(holding, "fetch", self._move)
            self._found = over, holding.copies[self._server]
            return holding.phase == phase  # it is ready: another fetch was faster
        if answers[0]:
            return True
        self._found = None
        return False
