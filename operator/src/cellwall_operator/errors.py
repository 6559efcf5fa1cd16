"""Every error of the operator on one page, and the border where foreign ones become these (I9).

    cellwall.errors
    ├── Refused
    │   ├── Forbidden     the API server does not let us: a verb is missing in our role
    │   └── Missing       the object is not there
    ├── Unavailable
    │   └── Conflict      the object has changed since it was observed: observe again
    └── Unknown

Decides which is which; never retries.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from cellwall.errors import CellwallError, Refused, Unavailable, Unknown

__all__ = ["CellwallError", "Conflict", "Forbidden", "Missing", "Refused", "Unavailable", "Unknown", "border", "told"]


class Forbidden(Refused):
    """The API server does not let us: a verb is missing in our role, or the credentials are wrong."""


class Missing(Refused):
    """The object, or its kind, is not there."""


class Conflict(Unavailable):
    """The object has changed since it was observed, or is there already: observe again."""


MEANINGS: dict[int, type[CellwallError]] = {
    400: Refused,
    401: Forbidden,
    403: Forbidden,
    404: Missing,
    405: Refused,
    409: Conflict,
    410: Unavailable,
    413: Refused,
    415: Refused,
    422: Refused,
    429: Unavailable,
    503: Unavailable,
}


def told(status: int, message: str, doing: str) -> CellwallError:
    """An answer's status as an error. What has no meaning of its own (500, 504 …) may have happened: unknown."""
    return MEANINGS.get(status, Unknown)(f"{doing}: {message or f'status {status}'}")


@contextmanager
def border(doing: str) -> Iterator[None]:
    """Nothing of aiohttp or of the sockets below it crosses this. A time-out is unknown, never a failure."""
    try:
        yield
    except TimeoutError as error:  # aiohttp's time-outs are this too
        raise Unknown(f"{doing}: no answer in time") from error
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:  # nothing was sent
        raise Unavailable(f"{doing}: {error}") from error
    except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
        raise Unknown(f"{doing}: {error or type(error).__name__}") from error
