"""One round of a range read: which servers are asked about which partitions, and what they said.

Decides whom to ask, at first and after a failure; never sends anything. A server is asked about many
partitions in one request. Invariant: within one read no server is asked again about a partition for which
it has failed, and one that has failed altogether is asked about others only when too few are left. One that
refuses some partitions of a request, by name, is asked about the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec

from cellwall.merge import Part

from ..wire import Ranged, Row
from .calls import Replica

NAMES_MAX = 100  # partitions a call, as in re-replication: walks over that many keep a host's loop for 1-2 ms


class Source(msgspec.Struct, frozen=True):
    """A partition to read, and the servers that hold it."""

    partition: str  # model.partition_key
    replicas: Sequence[Replica]


class Want(msgspec.Struct, frozen=True):
    """What a round asks of a partition: first <= key < last (b"": no bound)."""

    source: Source
    first: bytes
    last: bytes


class Ask(msgspec.Struct, frozen=True):
    """One request; the bounds of all ``wants`` are the same."""

    replica: Replica
    wants: list[Want]

    @property
    def names(self) -> list[str]:
        return [want.source.partition for want in self.wants]


class Failures:
    """What went wrong in one read, over all its rounds."""

    def __init__(self) -> None:
        self.servers: set[str] = set()  # that failed altogether
        self._reasons: dict[str, dict[str, str]] = {}

    def add(self, partition: str, server: str, reason: str) -> None:
        self._reasons.setdefault(partition, {})[server] = reason

    def of(self, partition: str) -> dict[str, str]:
        """Reasons by server."""
        return self._reasons.get(partition, {})


class Round:
    """Asks ``needed`` replicas of every partition, or with ``everybody`` all of them, so that none is waited for."""

    def __init__(self, wants: Sequence[Want], needed: int, *, everybody: bool, turn: int, failures: Failures) -> None:
        self.heard: dict[str, dict[str, Part[Row]]] = {want.source.partition: {} for want in wants}
        self._needed = needed
        self._failures = failures
        self._unsettled = set(self.heard)
        self._asked: dict[str, int] = dict.fromkeys(self.heard, 0)  # that have answered or can still
        self._left: dict[str, list[Replica]] = {}
        first: list[tuple[Replica, Want]] = []
        for want in wants:
            name, replicas = want.source.partition, want.source.replicas
            order = [replicas[(turn + step) % len(replicas)] for step in range(len(replicas))]
            order = [replica for replica in order if replica.server not in failures.of(name)]
            order.sort(key=lambda replica: replica.server in failures.servers)  # stable: only those go last
            sound = sum(replica.server not in failures.servers for replica in order)
            self._left[name] = order
            first += self._next(want, max(sound, needed) if everybody else needed)
        self.first = grouped(first)

    @property
    def settled(self) -> bool:
        """Every partition was heard of from as many as needed, or never will be."""
        return not self._unsettled

    def done(self, ask: Ask, answer: Ranged) -> None:
        for name, part in split(answer, ask.names).items():
            self.heard[name][ask.replica.server] = part
            if len(self.heard[name]) >= self._needed:
                self._unsettled.discard(name)

    def failed(self, ask: Ask, reason: str, lacking: Collection[str] = ()) -> list[Ask]:
        """Whom to ask instead. ``lacking``: partitions of this request that the failure is about, if not all."""
        instead: list[tuple[Replica, Want]] = []
        refused = set(lacking).intersection(ask.names)
        if not refused:
            self._failures.servers.add(ask.replica.server)
        for want in ask.wants:
            name = want.source.partition
            if refused and name not in refused:
                instead.append((ask.replica, want))
                continue
            self._failures.add(name, ask.replica.server, reason)
            self._asked[name] -= 1
            instead += self._next(want, self._needed - self._asked[name])
        return grouped(instead)

    def _next(self, want: Want, count: int) -> list[tuple[Replica, Want]]:
        """The next ``count`` replicas to be asked, if there are so many."""
        name = want.source.partition
        chosen = self._left[name][: max(count, 0)]
        self._left[name] = self._left[name][len(chosen) :]
        self._asked[name] += len(chosen)
        if self._asked[name] < self._needed:
            self._unsettled.discard(name)
        return [(replica, want) for replica in chosen]


def grouped(pairs: Iterable[tuple[Replica, Want]]) -> list[Ask]:
    """One request a server and bounds, of at most `NAMES_MAX` partitions in their order."""
    groups: dict[tuple[Replica, bytes, bytes], list[Want]] = {}
    for replica, want in pairs:
        groups.setdefault((replica, want.first, want.last), []).append(want)
    return [
        Ask(replica, wants[start : start + NAMES_MAX])
        for (replica, _, _), wants in groups.items()
        for start in range(0, len(wants), NAMES_MAX)
    ]


def split(answer: Ranged, names: Sequence[str]) -> dict[str, Part[Row]]:
    """An answer's part on each of the partitions it was asked for. Cut short, it says nothing of the later ones."""
    rows: dict[str, list[Row]] = {name: [] for name in names}
    for row in answer.rows:
        rows[row.partition].append(row)
    if not answer.more:
        return {name: Part(rows[name], True) for name in names}
    cut = names.index(answer.rows[-1].partition) if answer.rows else 0
    return {name: Part(rows[name], number < cut) for number, name in enumerate(names)}
