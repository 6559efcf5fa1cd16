"""What everything is called: objects, labels, annotations, ports.

Decides names only; every one follows from the names of the service, the cell and the fleet, so that two operators, or
one that starts again, mean the same objects. Those that the lab must know too are `cellwall.labels`. Never looks
whether an object exists.
"""

from __future__ import annotations

from cellwall.labels import ADMIN_PORT as ADMIN_PORT
from cellwall.labels import CELL as CELL
from cellwall.labels import COMPONENT as COMPONENT
from cellwall.labels import FORCE as FORCE
from cellwall.labels import JOINED as JOINED
from cellwall.labels import PART_OF as PART_OF
from cellwall.labels import RENEWAL_PORT as RENEWAL_PORT
from cellwall.labels import STORAGE_PORT as STORAGE_PORT
from cellwall.labels import admin as admin
from cellwall.labels import cell_map as cell_map
from cellwall.labels import renewal as renewal
from cellwall.resources import GROUP

# ---------------------------------------------------------------- labels and annotations

NAME, INSTANCE, MANAGED_BY = (f"app.kubernetes.io/{key}" for key in ("name", "instance", "managed-by"))
SERVICE, FLEET, ZONE, FOLLOWS = (f"{GROUP}/{key}" for key in ("service", "fleet", "zone", "follows"))
PAUSED = f"{GROUP}/paused"  # in a selector only: no pod has it, so the Service has no endpoints
OPERATOR = "cellwall-operator"  # manager of all objects, and the field manager of server-side apply

MAP_VERSION = f"{GROUP}/map-version"  # on pods that follow the map: the nudge
MANIFEST = f"{GROUP}/manifest"  # hash of what was applied: also what a newer operator leaves out is seen
CONFIG = f"{GROUP}/config"  # hash of a pod's settings: a change of them is a change of the template
LET_IN = f"{GROUP}/let-in"  # on the map: the fleet was let in once
MOVES = f"{GROUP}/moves"  # on the map: which group is on the move, and where all of them shall be
BEGINS_EMPTY = f"{GROUP}/begins-empty"  # on a cell: it was added to a running service; set at creation only
CPU_GIVEN = f"{GROUP}/cpu-given"  # on a cell: the share of the service's CPU that it was given last


def resuming(cell_id: str) -> str:
    """On the map: the version that paces this cell's servers, whose Service is still closed."""
    return f"{GROUP}/resuming-{cell_id}"


# ---------------------------------------------------------------- ports

STORE_PORT = 6379

# ---------------------------------------------------------------- objects


def cell(service: str, number: int) -> str:
    """The MetadataCell; in maps and histories the cell is `placement.cell_id`."""
    return f"{service}-cell-{number}"


def node(cell: str) -> str:
    """Deployment, PodDisruptionBudget and ConfigMap of a cell's nodes."""
    return f"{cell}-node"


def store(cell: str) -> str:
    return f"{cell}-store"


def fill(service: str) -> str:
    """Job and ConfigMap."""
    return f"{service}-fill"


def storage(fleet: str, zone: str) -> str:
    """The StatefulSet of one zone; the fleet's Service and PodDisruptionBudget have its own name."""
    return f"{fleet}-{zone}"


def storage_pod(fleet: str, zone: str, number: int) -> str:
    return f"{storage(fleet, zone)}-{number}"


def hosts(fleet: str) -> str:
    """The ConfigMap with one HostConfig per storage pod."""
    return f"{fleet}-hosts"


def store_url(cell: str) -> str:
    return f"redis://{store(cell)}:{STORE_PORT}/0"


def storage_address(fleet: str, pod: str) -> str:
    return f"{pod}.{fleet}:{STORAGE_PORT}"
