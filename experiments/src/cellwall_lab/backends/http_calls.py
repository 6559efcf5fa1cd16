"""The world server's calls to services: one request, one deadline, and foreign errors end here.

aiohttp asks a GET, PUT or DELETE whose connection was lost a second time. Here that falsifies nothing: a loss
means that a child has died, which ends the world, or that a connection kept open was closed unread; and a map, a
cut, its end and a weight are what they are however often they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from cellwall.errors import Refused, Unavailable, Unknown

SAID_BYTES = 2000  # of a refusal's body: a page of words, not a table


class Calls:
    """A client for JSON answers. Close it."""

    def __init__(self) -> None:
        self._http = aiohttp.ClientSession()

    async def close(self) -> None:
        await self._http.close()

    async def ask(
        self,
        method: str,
        url: str,
        body: bytes,
        timeout_s: float,
        *,
        decode: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One request with one deadline. Foreign errors end here."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._http.request(
                method, f"http://{url}", data=body or None, timeout=timeout, headers=headers
            ) as response:
                data = await response.read()
                if response.status >= 400:
                    raise Refused(f"{method} {url}: {response.status} {data[:SAID_BYTES].decode(errors='replace')}")
        except TimeoutError:
            raise Unknown(f"time-out: {method} {url.partition('/')[2]} after {timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            raise Unavailable(f"{method} {url}: {error}") from None
        return msgspec.json.decode(data) if decode and data else data
