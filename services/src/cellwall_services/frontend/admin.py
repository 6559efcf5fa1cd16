"""Requests to the metadata service, all of them in the background.

Decides which node is asked (the owner with the fewest of our own requests outstanding, design §2) and
what its failures mean. Never called within a customer's request. Every error leaves here as
`Unavailable` (nothing happened) or `Unknown` (a time-out or a lost connection).

aiohttp asks a GET whose connection was lost a second time, within the same deadline. Here that falsifies
nothing: these requests only read, and no claim counts them (what counts is an operator's step).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import aiohttp
import msgspec

from cellwall.errors import Unavailable, Unknown
from cellwall.model import CellEntry, CellId, CellMap, NodeId, ServerId

from ..wire import TableChange

_decode_numbers = msgspec.json.Decoder(dict[str, int]).decode
_ASK_AT_ONCE = 200  # servers named in one /confirmed request; guess, keeps the address line below 8 KB


class Admin:
    """``published`` gives the cell map of the moment; ``timeout_s`` bounds each request."""

    def __init__(self, session: aiohttp.ClientSession, published: Callable[[], CellMap], timeout_s: float) -> None:
        self._session = session
        self._published = published
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._outstanding: Counter[NodeId] = Counter()

    async def partition_map(self, cell: CellId, partition: int) -> bytes:
        """The body of GET /map/{partition}, undecoded: it can be many megabytes."""
        return await self._request(cell, self._entry(cell).owners[partition], "GET", f"/map/{partition}")

    async def version(self, cell: CellId) -> int:
        body = await self._request(cell, self._entry(cell).admin, "GET", "/version")
        try:
            return _decode_numbers(body)["version"]
        except (msgspec.DecodeError, KeyError):
            raise Unavailable(f"{cell}: GET /version: unreadable answer") from None

    async def confirmed(self, cell: CellId, servers: Iterable[ServerId]) -> dict[ServerId, int]:
        """The last epoch that each server has confirmed."""
        wanted = sorted(servers)
        found: dict[ServerId, int] = {}
        for start in range(0, len(wanted), _ASK_AT_ONCE):
            path = "/confirmed?servers=" + ",".join(wanted[start : start + _ASK_AT_ONCE])
            body = await self._request(cell, self._entry(cell).admin, "GET", path)
            try:
                found.update(_decode_numbers(body))
            except msgspec.DecodeError:
                raise Unavailable(f"{cell}: GET /confirmed: unreadable answer") from None
        return found

    async def change_table(self, cell: CellId, change: TableChange) -> dict[ServerId, int]:
        """The epoch in which each server named has the change."""
        body = await self._request(cell, self._entry(cell).admin, "POST", "/tables", msgspec.json.encode(change))
        try:
            return _decode_numbers(body)
        except msgspec.DecodeError:
            raise Unknown(f"{cell}: POST /tables: unreadable answer") from None

    def _entry(self, cell: CellId) -> CellEntry:
        entry = self._published().cells.get(cell)
        if entry is None:
            raise Unavailable(f"{cell}: is not in the cell map")
        return entry

    async def _request(
        self, cell: CellId, nodes: Iterable[NodeId], method: str, path: str, body: bytes | None = None
    ) -> bytes:
        addresses = self._entry(cell).admin
        known = sorted(node for node in nodes if node in addresses)
        if not known:
            raise Unavailable(f"{cell}: no node serves {path}")
        node = min(known, key=lambda n: (self._outstanding[n], n))
        where = f"{node}: {method} {path.partition('?')[0]}"
        headers = {"Content-Type": "application/json"} if body is not None else None
        self._outstanding[node] += 1
        try:
            async with self._session.request(
                method, f"http://{addresses[node]}{path}", data=body, headers=headers, timeout=self._timeout
            ) as response:
                data = await response.read()
        except aiohttp.ClientConnectorError:
            raise Unavailable(f"{where}: unreachable") from None
        except TimeoutError:
            raise Unknown(f"{where}: no answer within {self._timeout.total} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unknown(f"{where}: connection lost ({error!r})") from None
        finally:
            self._outstanding[node] -= 1
        if response.status >= 300:
            raise Unavailable(f"{where}: status {response.status} {data[:200]!r}")
        return data
