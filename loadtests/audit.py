"""After the load has stopped: reads every key with an acknowledged write again and records what is there.

Decides how often and how long it asks; never whether a write was lost, which the judge reads from the records.
`acknowledged` is the acknowledged write of that key that began last. Finding a smaller number is a loss unless
the found write's outcome is unknown or it ended after `acknowledged` was sent (the two overlapped); finding a
larger one never is. A key that could not be read in time is recorded as unknown, never left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import gevent
from dynamo_json import Answer

from cellwall.history import Audit

CONCURRENCY = 16  # far below what the front end carries, so that the audit overloads nothing (guess)
LIMIT_S = 30.0
TRIES = 3
WAIT_S = 0.2  # between two tries of a key (guess)


class Key(NamedTuple):
    customer: str
    table: str
    table_id: str
    key: str


Read = Callable[[Key], Answer]  # one consistent read, with the clients' own time-out


def audit(acknowledged: dict[Key, int], read: Read, add: Callable[[Audit], None]) -> None:
    """One `Audit` record for every key, in any order, within about ``LIMIT_S``."""
    until_s = time.monotonic() + LIMIT_S
    left = iter(sorted(acknowledged.items()))
    gevent.joinall([gevent.spawn(_work, left, read, add, until_s) for _ in range(CONCURRENCY)])


def _work(left: Iterator[tuple[Key, int]], read: Read, add: Callable[[Audit], None], until_s: float) -> None:
    for key, sequence in left:
        answer = _read(key, read, until_s)
        add(
            Audit(
                t=round(time.time(), 6),
                customer=key.customer,
                table=key.table_id,
                key=key.key,
                acknowledged=sequence,
                found=answer.value,
                outcome=answer.outcome,
            )
        )


def _read(key: Key, read: Read, until_s: float) -> Answer:
    answer = Answer("unknown", "audit-limit")
    for turn in range(TRIES):
        if time.monotonic() >= until_s:
            break
        if turn:
            gevent.sleep(WAIT_S)
        answer = read(key)
        if answer.outcome == "done":
            break
    return answer
