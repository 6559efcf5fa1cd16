"""A cell's store: which keys there are, and the only place that talks to Redis.

Decides names and row formats. Never decides whose turn it is. A row carries its CRC-32, so a record
that was damaged in the store is found before a storage server acts on it.

    version              counter, rises with every change of assignments
    server:{id}          hash: epoch, confirmed, count, partition, tables (JSON list of table ids)
    list:{id}            list: the server's membership, one row per record, "crc32hex" + JSON `Assignment`
    table:{id}           JSON `TableInfo`
    slice:{partition}    list: the servers of a metadata partition
    slices               counter, rises when servers come to a slice or leave it while nodes run

What there is while groups move between cells: `copies`.

Commands are sent in pipelines. A reply left on a connection would reach the next caller (research 05, "client
hazard"), so a pipeline that is cut short takes its connection with it.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import redis.asyncio
import redis.exceptions

from cellwall.errors import Refused, Unavailable
from cellwall.model import Assignment, TableInfo

Command = tuple[str | bytes | int, ...]
Condition = tuple[str, str, str | int]  # key, field, what is found there: see `if_so`

ROWS_PER_COMMAND = 1000  # the store's scripts take about 8,000 words at once

_encode = msgspec.json.Encoder().encode


def row(assignment: Assignment) -> bytes:
    return row_of(_encode(assignment))


def row_of(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body) + body


def row_body(stored: bytes) -> bytes:
    """The JSON of a row whose checksum holds; `Refused` otherwise."""
    body = stored[8:]
    if stored[:8] != b"%08x" % zlib.crc32(body):
        raise Refused(f"a stored assignment is damaged: {stored[:60]!r}")
    return body


def read_head(server: str) -> Command:
    return ("HMGET", f"server:{server}", "epoch", "confirmed", "count", "tables")


def read_tables(tables: Sequence[str]) -> Command:
    return ("MGET", *(f"table:{table}" for table in tables))


def read_page(server: str, first: int, count: int) -> Command:
    return ("LRANGE", f"list:{server}", first, first + count - 1)


def read_slice(partition: int) -> Command:
    return ("LRANGE", f"slice:{partition}", 0, -1)


def read_list(server: str) -> Command:
    return ("LRANGE", f"list:{server}", 0, -1)


def drop_list(server: str) -> Command:
    return ("DEL", f"list:{server}")


def append_rows(server: str, rows: Iterable[bytes]) -> list[Command]:
    stored = list(rows)
    portions = range(0, len(stored), ROWS_PER_COMMAND)
    return [("RPUSH", f"list:{server}", *stored[first : first + ROWS_PER_COMMAND]) for first in portions]


def write_head(server: str, epoch: int, count: int, tables: Sequence[str]) -> Command:
    return ("HSET", f"server:{server}", "epoch", epoch, "count", count, "tables", _encode(tables))


READ_SLICES: Command = ("GET", "slices")
READ_VERSION: Command = ("GET", "version")
FIRST_VERSION: Command = ("SET", "version", 1, "NX")
NEXT_VERSION: Command = ("INCR", "version")
KEEP_ON_DISK: Command = ("CONFIG", "SET", "appendonly", "yes")  # from what it holds now on


def write_table(info: TableInfo) -> Command:
    return ("SET", f"table:{info.id}", _encode(info))


# Carries commands out if everything still is as it was found, or nothing: two changes may be under way at once, the
# same one sent again among them. Two words for each key, a field and what it must be ("": not there); without a field,
# how many such keys there must be. Then each command follows its number of words.
_IF_SO = """
for i, key in ipairs(KEYS) do
  local field, found = ARGV[2 * i - 1], nil
  if field == '' then found = tostring(redis.call('EXISTS', key)) else found = redis.call('HGET', key, field) end
  if (found or '') ~= ARGV[2 * i] then return 0 end
end
local i = 2 * #KEYS + 1
while ARGV[i] do
  local words = tonumber(ARGV[i])
  redis.call(unpack(ARGV, i + 1, i + words))
  i = i + words + 1
end
return 1
"""


def if_so(conditions: Sequence[Condition], commands: Sequence[Command]) -> Command:
    """One command that does all of ``commands`` (1) or nothing (0)."""
    words = [word for command in commands for word in (len(command), *command)]
    keys = [key for key, _, _ in conditions]
    expected = [word for _, field, found in conditions for word in (field, found)]
    return ("EVAL", _IF_SO, len(keys), *keys, *expected, *words)


def has_epoch(server: str, epoch: int) -> Condition:
    return (f"server:{server}", "epoch", epoch)


# A server that is not here must not come into being by its confirmation; one on the move confirms when it is over.
_IF_KNOWN = """
if redis.call('HEXISTS', KEYS[1], 'epoch') == 0 then return 0 end
if redis.call('HEXISTS', KEYS[1], 'mark') == 1 then return 2 end
redis.call('HSET', KEYS[1], 'confirmed', ARGV[1])
return 1
"""


def write_confirmed(server: str, epoch: int) -> Command:
    """Answers 1; 0 where no such server is known; 2 while it is on the move."""
    return ("EVAL", _IF_KNOWN, 1, f"server:{server}", epoch)


class Store:
    """One connection to a cell's Redis (or Valkey), for pipelines.

    On redis-py's connection and not its pipeline object: that costs 0.1 ms more a trip, and a trip is what every
    page of every renewal makes.
    """

    def __init__(self, url: str) -> None:
        pool = _pool(url)
        self._connection: redis.asyncio.Connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._url = url
        self._lock = asyncio.Lock()

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to the commands, in order, in one round trip. Raises Unavailable if the store is.

        If the caller is cancelled meanwhile the connection is closed, so that no reply is left on it."""
        async with self._lock:
            try:
                # Does nothing if it is connected.
                await self._connection.connect()  # type: ignore[no-untyped-call]
                await self._connection.send_packed_command(self._connection.pack_commands(commands))
                return [await self._connection.read_response() for _ in commands]
            except (redis.exceptions.RedisError, OSError) as error:
                await self._connection.disconnect(nowait=True)
                raise Unavailable(f"store {self._url}: {error}") from error
            except asyncio.CancelledError:
                await self._connection.disconnect(nowait=True)
                raise

    async def close(self) -> None:
        await self._connection.disconnect()


def _pool(url: str) -> redis.asyncio.ConnectionPool:
    """Like from_url, but "unix://" may be followed by a relative path: a socket's path is limited to 107 bytes.
    "?db=1" is a database of a store that several cells share."""
    if url.startswith("unix://"):
        kind = redis.asyncio.UnixDomainSocketConnection
        path, _, database = url.removeprefix("unix://").partition("?db=")
        return redis.asyncio.ConnectionPool(connection_class=kind, path=path, db=int(database or 0), protocol=2)
    return redis.asyncio.ConnectionPool.from_url(url, protocol=2)
