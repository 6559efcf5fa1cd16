"""Whether a live object has what a manifest says.

Decides by the manifest's own fields: what the API server, admission or other controllers add is theirs. Never says what
differs. Invariant: once a manifest was applied, it matches, so nothing is written at rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
SCALE: dict[str | None, Decimal] = {
    None: Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGT", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGT", 1)},
}


def matches(live: Any, wanted: Any) -> bool:
    """Mappings may have more than wanted; lists must be as long, but for owners, of whom there may be more."""
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return not wanted and live is None
        return all(
            _owned(live.get(key), value) if key == "ownerReferences" else matches(live.get(key), value)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return not wanted and live is None
        return len(live) == len(wanted) and all(map(matches, live, wanted))
    return bool(live == wanted) or (isinstance(live, str) and isinstance(wanted, str) and _equal(live, wanted))


def _owned(live: Any, wanted: list[Any]) -> bool:
    return all(any(matches(owner, one) for owner in live or ()) for one in wanted)


def _equal(live: str, wanted: str) -> bool:
    """The API server writes quantities in its own way: 1024Mi is 1Gi, 0.4 is 400m."""
    found, asked = QUANTITY.fullmatch(live), QUANTITY.fullmatch(wanted)
    if found is None or asked is None:
        return False
    return bool(Decimal(found[1]) * SCALE[found[2]] == Decimal(asked[1]) * SCALE[asked[2]])
