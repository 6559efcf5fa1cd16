"""What the objects of a world are called on a cluster: labels, ports, and the names that others must find them by.

Decides only what the operator writes and somebody else reads (the lab's Kubernetes backend); each has names of its own
besides. Never looks whether an object exists.
"""

from __future__ import annotations

from .resources import GROUP

COMPONENT, PART_OF = "app.kubernetes.io/component", "app.kubernetes.io/part-of"
CELL = f"{GROUP}/cell"
JOINED = f"{GROUP}/joined"  # pod condition and readiness gate of nodes
FORCE = f"{GROUP}/force"  # annotation of a MetadataService: cells below the size rule are meant

STORAGE_PORT, RENEWAL_PORT, ADMIN_PORT = 7000, 7001, 7002


def renewal(cell: str) -> str:
    """The Service of a cell's renewals; ``cell``: the MetadataCell's name, "world-cell-0"."""
    return f"{cell}-renewal"


def admin(cell: str) -> str:
    """The Service of a cell's administration."""
    return f"{cell}-admin"


def cell_map(service: str) -> str:
    """The ConfigMap with the published map of a MetadataService."""
    return f"{service}-map"
