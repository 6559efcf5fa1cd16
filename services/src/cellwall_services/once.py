"""One request is asked once: aiohttp asks a GET or a PUT whose connection was lost a second time, by itself.

Decides nothing but that. It is a repeat that no agent, record or deadline knows of: a node that drops its callers would
be asked twice as often as the history says. A session that must not do it names `once` among its middlewares.
"""

from __future__ import annotations

import aiohttp


class Lost(aiohttp.ClientError):
    """The connection was lost before an answer came. Of none of the kinds that aiohttp asks again after."""


async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:  # no connection, so nothing was asked; it is not tried again either
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Lost(str(error)) from error
