"""A cell's store while groups move: which keys there are beside those of `store`, and the commands on them.

Decides names and formats only; which of them to send is `groups`' matter, and what they mean `cellwall.moves`'.

    moves                hash: over (the last move of any group that is over here)
    server:{id}          also: mark, "leaving 7" or "ready 7": it is in move 7, and nothing of it may change
    frozen               hash: by table id, the move that servers of it are in: it may not change either
    arriving:{id}        hash: what has arrived of a server: as server:{id}, with infos (JSON {table id: `TableInfo`})
    arriving-list:{id}   list: its rows
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cellwall.errors import Refused
from cellwall.moves import Copy, Holding, Phase

from .store import ROWS_PER_COMMAND, Command, Condition

READ_OVER: Command = ("HGET", "moves", "over")
NEXT_SLICES: Command = ("INCR", "slices")

_COPY = ("epoch", "confirmed", "count", "partition", "mark")


def mark_of(phase: Phase, move: int) -> str:
    return "" if phase in ("absent", "owned") else f"{phase} {move}"


def read_mark(server: str) -> Command:
    return ("HGET", f"server:{server}", "mark")


def read_frozen(table: str) -> Command:
    return ("HGET", "frozen", table)


def read_info(table: str) -> Command:
    return ("EXISTS", f"table:{table}")


def read_copy(server: str) -> list[Command]:
    """What is here of a server, and what has arrived of it so far."""
    return [("HMGET", f"server:{server}", *_COPY), ("HMGET", f"arriving:{server}", *_COPY)]


def may_change(server: str) -> list[Condition]:
    """It is here and not on the move."""
    return [(f"server:{server}", "", 1), (f"server:{server}", "mark", "")]


def not_frozen(table: str) -> Condition:
    return ("frozen", table, "")


def knows(table: str) -> Condition:
    return (f"table:{table}", "", 1)


def found(servers: Sequence[str], answers: Sequence[Any]) -> tuple[int | None, Holding]:
    """What the answers to READ_OVER and `read_copy` of each server say."""
    over = None if answers[0] is None else int(answers[0])
    copies = {s: _copy(*answers[1 + 2 * n : 3 + 2 * n]) for n, s in enumerate(servers)}
    return over, Holding(over or 0, copies)


def _copy(here: list[Any], arriving: list[Any]) -> Copy:
    default: Phase = "owned" if here[0] is not None else "arriving"
    epoch, confirmed, count, partition, mark = here if here[0] is not None else arriving
    if epoch is None:
        return Copy()
    phase, _, move = (mark or default.encode()).decode().partition(" ")
    numbers = [int(text or 0) for text in (move, epoch, confirmed, count, partition)]
    try:
        return Copy(msgspec.convert(phase, Phase), *numbers)
    except msgspec.ValidationError:
        raise Refused(f"the mark {mark!r} of a server cannot be read") from None


def read_names(server: str) -> Command:
    return ("HGET", f"server:{server}", "tables")


def read_arrived(server: str) -> Command:
    return ("HMGET", f"arriving:{server}", "tables", "infos")


def read_weight(server: str) -> Command:
    return ("HMGET", f"server:{server}", "count", "tables")


def as_found(over: int | None, server: str, copy: Copy) -> list[Condition]:
    """That a server is still as `read_copy` told. ``over``: as found, None if it was not there."""
    mark = mark_of(copy.phase, copy.move)
    here, arriving = f"server:{server}", f"arriving:{server}"
    if copy.phase == "arriving":
        found: list[Condition] = [(here, "", 0), (arriving, "mark", mark)]
    elif copy.phase == "absent":
        found = [(here, "", 0), (arriving, "", 0)]
    else:
        found = [(here, "mark", mark), (here, "epoch", copy.epoch), (here, "confirmed", copy.confirmed)]
    return [("moves", "over", "" if over is None else over), *found]


def write_over(move: int) -> Command:
    return ("HSET", "moves", "over", move)


def write_mark(server: str, phase: Phase, move: int) -> Command:
    return ("HSET", f"server:{server}", "mark", mark_of(phase, move))


def drop_mark(server: str) -> Command:
    return ("HDEL", f"server:{server}", "mark")


def freeze_tables(tables: Iterable[str], move: int) -> list[Command]:
    return [("HSET", "frozen", table, move) for table in tables]


def thaw_tables(tables: Iterable[str]) -> list[Command]:
    return [("HDEL", "frozen", table) for table in tables]


def write_info(table: str, info: bytes) -> Command:
    return ("SET", f"table:{table}", info)


def drop_tables(tables: Iterable[str]) -> list[Command]:
    return [("DEL", f"table:{table}") for table in tables]


def drop_server(server: str, copy: Copy) -> list[Command]:
    """Whatever there is of it."""
    out: list[Command] = [("DEL", f"{what}:{server}") for what in ("server", "list", "arriving", "arriving-list")]
    return [*out, ("LREM", f"slice:{copy.partition}", 0, server)]


def write_arriving(
    server: str, copy: Copy, infos: bytes, tables: Sequence[str], rows: Sequence[bytes]
) -> list[Command]:
    """A whole copy at once, in place of whatever had arrived. Its tables are frozen from now on: whether they are
    those of other servers here, too, shall not change."""
    key, rows_key = f"arriving:{server}", f"arriving-list:{server}"
    head = (
        "epoch",
        copy.epoch,
        "confirmed",
        copy.confirmed,
        "count",
        copy.count,
        "tables",
        msgspec.json.encode(tables),
    )
    written: list[Command] = [("DEL", key, rows_key)]
    for first in range(0, len(rows), ROWS_PER_COMMAND):
        written.append(("RPUSH", rows_key, *rows[first : first + ROWS_PER_COMMAND]))
    written.append(("HSET", key, *head, "infos", infos, "mark", mark_of(copy.phase, copy.move)))
    return [*written, *freeze_tables(tables, copy.move)]


def bring_in(server: str, count: int, partition: int, move: int) -> list[Command]:
    """Make what has arrived the server's list, in a metadata partition."""
    out: list[Command] = [
        ("HDEL", f"arriving:{server}", "infos"),
        ("HSET", f"arriving:{server}", "partition", partition, "mark", f"ready {move}"),
        ("RENAME", f"arriving:{server}", f"server:{server}"),
        ("RPUSH", f"slice:{partition}", server),
    ]
    return [*out, ("RENAME", f"arriving-list:{server}", f"list:{server}")] if count else out
