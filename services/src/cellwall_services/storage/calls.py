"""What a storage host asks of others: its memberships, confirmations, and its peers' data.

Decides how a call is made and what its failure means; never when to call or what to do next.
Invariant: nothing of aiohttp's errors gets past this page. `Unknown` is a time-out, `Unavailable` an
address that did not answer, `Refused` an answer that makes no sense.

Every call has a connection of its own and is made once: a pooled one would survive a pause of the metadata
service and carry renewals past it (design §2), and a second one would be a renewal that nobody recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import aiohttp
import msgspec
from yarl import URL

from cellwall.errors import Refused, Unavailable, Unknown
from cellwall.model import CellEntry, NodeId, ServerId

from ..once import once
from ..wire import Export, Exported

_exports = msgspec.msgpack.Encoder()
_exported = msgspec.msgpack.Decoder(Exported)


class Meter:
    """Bytes of a membership received so far; counts also for an attempt that fails."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Calls:
    """Outgoing calls of one host, with the renewals outstanding at each metadata node."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            auto_decompress=False,
            middlewares=(once,),
        )
        self._outstanding: Counter[NodeId] = Counter()

    async def close(self) -> None:
        await self._session.close()

    def node_for(self, cell: CellEntry, partition: int) -> NodeId:
        """The owner of a metadata partition with the fewest of this host's requests; the first among equals."""
        owners = [node for node in cell.owners[partition] if node in cell.nodes] if partition < len(cell.owners) else []
        if not owners:
            raise Unavailable(f"{cell.id}: nobody owns metadata partition {partition}")
        return min(owners, key=self._outstanding.__getitem__)

    async def membership(self, cell: CellEntry, node: NodeId, server: ServerId, limit_s: float, meter: Meter) -> bytes:
        """The whole answer within ``limit_s``, connection included."""
        self._outstanding[node] += 1
        try:
            async with self._call("GET", cell.nodes[node], f"/membership/{server}", limit_s) as answer:
                if answer.status == 404:
                    raise Refused(f"{node}: does not know {server}")
                if answer.status != 200:
                    raise Unavailable(f"{node}: status {answer.status}")
                parts: list[bytes] = []
                async for part in answer.content.iter_any():
                    meter.bytes += len(part)
                    parts.append(part)
                return b"".join(parts)
        finally:
            self._outstanding[node] -= 1

    async def confirm(self, cell: CellEntry, node: NodeId, server: ServerId, epoch: int, limit_s: float) -> None:
        async with self._call("POST", cell.nodes[node], f"/confirm/{server}?epoch={epoch}", limit_s) as answer:
            if answer.status != 204:
                raise Unavailable(f"{node}: status {answer.status}")

    async def export(self, address: str, peer: ServerId, partitions: Sequence[str], limit_s: float) -> Exported:
        body = _exports.encode(Export(list(partitions)))
        async with self._call("POST", address, f"/replica/{peer}/export", limit_s, body) as answer:
            if answer.status != 200:
                raise Unavailable(f"{peer}: status {answer.status}")
            try:
                return _exported.decode(await answer.read())
            except msgspec.DecodeError as error:
                raise Refused(f"export of {peer}: {error}") from None

    @contextlib.asynccontextmanager
    async def _call(
        self, method: str, address: str, path: str, limit_s: float, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The border."""
        try:
            async with asyncio.timeout(limit_s):
                async with self._session.request(
                    method, URL(f"http://{address}{path}", encoded=True), data=body
                ) as answer:
                    yield answer
        except TimeoutError:
            raise Unknown(f"{address}: no whole answer within {limit_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{address}: {error}") from None
