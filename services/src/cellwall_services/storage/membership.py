"""What a membership asks of a server: is this answer ours, and what is to be created, replicated, dropped.

Decides, purely, from the answer's bytes and the partitions held; never touches disk or network.
Invariant: an answer that does not name this server, is cut off or contradicts itself changes nothing;
and a partition is made empty only if nobody can have written to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from cellwall.errors import Refused
from cellwall.model import ServerId, partition_key


class Answer(msgspec.Struct, frozen=True):
    """A `model.Membership` as far as a server needs it. The list stays undecoded until it proves new:
    most renewals bring the one already verified."""

    server: ServerId
    epoch: int
    confirmed: int
    count: int
    assignments: msgspec.Raw

    def digest(self) -> bytes:
        return hashlib.blake2b(self.assignments, digest_size=16).digest()


class Slim(msgspec.Struct, frozen=True, gc=False):
    """A `model.Assignment` without what only others need. No cycles: kept from the collector (2,200 at a time)."""

    table: str
    index: str
    partition: int
    epoch: int
    born: int
    peers: tuple[ServerId, ...]


class Lacking(msgspec.Struct, frozen=True):
    """A partition to be got from ``peers``. ``new_here``: this server never confirmed it, so if no
    peer holds it either, it is empty."""

    epoch: int
    new_here: bool
    peers: tuple[ServerId, ...]


class Work(msgspec.Struct, frozen=True):
    """What separates local data from the membership."""

    create: dict[str, int]
    fetch: dict[str, Lacking]
    drop: list[str]


_answers = msgspec.json.Decoder(Answer)
_lists = msgspec.json.Decoder(list[Slim])


def read(body: bytes, server: ServerId) -> Answer:
    """The answer, if it is one and names this server."""
    try:
        answer = _answers.decode(body)
    except msgspec.DecodeError as error:
        raise Refused(f"membership of {server}: {error}") from None
    if answer.server != server:
        raise Refused(f"membership: for {answer.server!r}, not for {server!r}")
    if not 0 <= answer.confirmed <= answer.epoch or answer.epoch < 1:
        raise Refused(f"membership of {server}: epoch {answer.epoch}, confirmed {answer.confirmed}")
    return answer


def assignments(answer: Answer) -> dict[str, Slim]:
    """The list by partition; refused if it is shorter than it claims, names one twice, or runs ahead of its epoch."""
    try:
        records = _lists.decode(answer.assignments)
    except msgspec.DecodeError as error:
        raise Refused(f"membership of {answer.server}: {error}") from None
    by_key = {partition_key(record.table, record.index, record.partition): record for record in records}
    if not len(by_key) == len(records) == answer.count:
        raise Refused(
            f"membership of {answer.server}: {len(by_key)} partitions in {len(records)} records,"
            f" {answer.count} announced"
        )
    if any(not 1 <= record.born <= record.epoch <= answer.epoch for record in records):
        raise Refused(f"membership of {answer.server}: an assignment's epoch is not in [born, {answer.epoch}]")
    return by_key


def compare(assigned: Mapping[str, Slim], confirmed: int, held: Mapping[str, int]) -> Work:
    """What to do so that local data match. A partition held under another assignment's epoch was away in
    between and may have missed writes: it counts as lacking."""
    create: dict[str, int] = {}
    fetch: dict[str, Lacking] = {}
    for key, record in assigned.items():
        if held.get(key) == record.epoch:
            continue
        new_here = record.epoch > confirmed
        if new_here and record.born == record.epoch:
            create[key] = record.epoch
        else:
            fetch[key] = Lacking(record.epoch, new_here, record.peers)
    return Work(create, fetch, [key for key in held if key not in assigned])


def settle(lacking: Lacking, server: ServerId, heard: Iterable[ServerId], holders: Iterable[ServerId]) -> bool:
    """Whether a lacking partition may be taken as whole, given the peers heard and those of them that hold it.

    An acknowledged write is on two of three replicas (I6); one of the two may have been the copy lost
    here, so the other must be heard: every peer has to answer. One that holds nothing counts as heard.
    """
    if not set(lacking.peers) - {server} <= set(heard):
        return False
    return bool(list(holders)) or lacking.new_here
