"""The world on a Kubernetes cluster, as a world server.

`python -m cellwall_lab.backends.kubernetes ARM_CONFIG.json` installs the arm's world into a namespace of its own,
follows its pods' records, serves the verbs, and removes all of it at `stop`, on SIGTERM, or when any pod ends unasked.
Decides nothing itself: what the verbs mean is `world`, how they are carried out on the cluster `cluster.ground`.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from .cluster.bringup import bring_up
from .config import ArmConfig
from .world import keep, run


async def main(config: ArmConfig) -> int:
    config.spec.check(force=config.force)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    ground = await bring_up(config, stopped)
    return 1 if ground is None else await keep(ground, stopped)


if __name__ == "__main__":
    sys.exit(run(main))
