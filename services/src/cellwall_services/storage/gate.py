"""Network cuts: which of this host's servers nobody reaches now, and proof that it bit.

Decides from (cuts, time); never closes a connection or sets a timer itself. Invariant: a server is cut
while at least one cut that names it is on, and every cut ends at its expiry at the latest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cellwall.errors import Refused
from cellwall.model import ServerId

from ..wire import Cut, CutState

LONGEST_S = 3600.0  # guess: no experiment cuts for longer; a typing error must not


class _Cut:
    def __init__(self, servers: frozenset[ServerId], on_s: float, off_s: float) -> None:
        self.servers = servers
        self.on_s = on_s
        self.off_s = off_s
        self.active = True
        self.refused = 0


class Gate:
    """The cuts of one host. Servers of other hosts in a cut are none of its business: the state returned
    counts those that are, and the caller adds up."""

    def __init__(self, servers: Iterable[ServerId]) -> None:
        self._here = frozenset(servers)
        self._cuts: dict[str, _Cut] = {}  # with those that ended: their receipts
        self._over: Counter[ServerId] = Counter()  # active cuts over each server

    def on(self, cut: Cut, now_s: float) -> tuple[CutState, list[ServerId]]:
        """Switch on; also the servers that lose their link by it. The same cut sent again changes nothing."""
        if not cut.id:
            raise Refused("id: must not be empty")
        if not 0 < cut.for_s <= LONGEST_S:
            raise Refused(f"for_s: {cut.for_s!r} is not allowed; it must be in (0, {LONGEST_S:g}]")
        servers = frozenset(cut.servers) & self._here
        known = self._cuts.get(cut.id)
        if known is not None:
            if known.servers != servers:
                raise Refused(f"id: {cut.id!r} is already that of another cut")
            return self.state(cut.id), []
        lost = [server for server in sorted(servers) if not self._over[server]]
        self._cuts[cut.id] = _Cut(servers, now_s, now_s + cut.for_s)
        self._over.update(servers)
        return self.state(cut.id), lost

    def off(self, cut_id: str, now_s: float) -> CutState:
        """Switch off, early or at expiry; again is harmless and returns the receipt."""
        cut = self._cuts.get(cut_id)
        if cut is None:
            raise Refused(f"id: no cut {cut_id!r} here")
        if cut.active:
            cut.active = False
            cut.off_s = min(cut.off_s, now_s)
            self._over.subtract(cut.servers)
        return self.state(cut_id)

    def refuses(self, server: ServerId) -> bool:
        """Whether this call from or to ``server`` must not happen; if so it is counted."""
        if not self._over[server]:
            return False
        for cut in self._cuts.values():
            if cut.active and server in cut.servers:
                cut.refused += 1
        return True

    def is_cut(self, server: ServerId) -> bool:
        return self._over[server] > 0

    def state(self, cut_id: str) -> CutState:
        cut = self._cuts[cut_id]
        return CutState(cut_id, len(cut.servers), cut.on_s, cut.off_s, cut.active, cut.refused)

    def active(self) -> list[CutState]:
        return [self.state(cut_id) for cut_id, cut in self._cuts.items() if cut.active]
