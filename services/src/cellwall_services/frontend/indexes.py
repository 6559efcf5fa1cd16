"""What a write of an item means for the table's secondary indexes.

Decides, purely, which entries an item has and which entries must be written once a writer knows which states
of the item there are. Never sends anything (`upkeep` does) and never needs the item locked.

An entry lives in the index's own partitions under `keys.index_key`, holds the projected attributes, and has
the version of the item's write that it follows from. An item without an index's key attributes has no entry.

**The rule.** A writer of version v learns from each replica of its quorum what was there before. Of all the
states it then knows (its own among them) the newest counts: every entry that any of them has is written at the
newest one's version, as the newest one has it, or deleted if it has none there.

**Why it suffices.** What is written for one entry at one version follows from the item at that version alone, so
it does not matter who writes it, how often and in which order; the highest version wins on each replica. Let
every write that a replica may hold be completed at last, and all it entails be written (`outbox`). Take a
state s that is not the last, and t, the next higher one. Both were acknowledged by two of three replicas, so
by one in common. If s came there first, nothing was in between when t came: t's writer knows s. If t came
first, s's writer hears of t or a newer one. Either way s's entries are written at a higher version than s. So
the highest version at which an entry is written is the last state's, or one at which it is deleted; and the
last state's own entries are written by its writer. Hence, when all is delivered: index = projection of the table.

A writer that missed an answer (time-out, killed in between) cannot know what that replica held: what it wrote is
there already when it asks again. It looks through the index instead for entries of its item (``extra``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from cellwall.keys import index_key, partition_for
from cellwall.model import IndexInfo, TableInfo
from cellwall.quorum import Version

from . import targets, values
from .values import Item


class Place(msgspec.Struct, frozen=True):
    """Where an entry lives: a partition of an index, and its key there."""

    index: str
    partition: int
    key: bytes


class State(msgspec.Struct, frozen=True):
    """An item at a version; None: deleted."""

    version: Version
    item: bytes | None


class EntryWrite(msgspec.Struct, frozen=True):
    """An entry to be written at a version; None: deleted."""

    place: Place
    version: Version
    item: bytes | None


def entries(info: TableInfo, indexes: Sequence[IndexInfo], key: bytes, item: Item | None) -> dict[Place, bytes]:
    """The entries of an item in ``indexes``. ``key``: the item's own."""
    found: dict[Place, bytes] = {}
    if item is None:
        return found
    for index in indexes:
        pair = targets.index_keys(index, item)
        if pair is not None:
            hash_value, range_value = pair
            partition = partition_for(index.hash_type, hash_value, index.partitions)
            entry = index_key(index.hash_type, hash_value, index.range_type, range_value or b"", key)
            found[Place(index.name, partition, entry)] = values.encode(targets.index_item(info, index, item))
    return found


def consequences(
    info: TableInfo,
    indexes: Sequence[IndexInfo],
    key: bytes,
    states: Iterable[State],
    extra: Iterable[Place] = (),
) -> list[EntryWrite]:
    """What a writer that knows ``states`` of an item must have written; ``extra``: entries found in other ways."""
    known = sorted(states, key=lambda state: state.version)
    found = [entries(info, indexes, key, None if s.item is None else values.decode(s.item)) for s in known]
    newest, last = known[-1].version, found[-1]
    places = dict.fromkeys([*extra, *(place for held in found for place in held)])
    return [EntryWrite(place, newest, last.get(place)) for place in places]
