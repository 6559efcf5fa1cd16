"""The local world: real processes on this machine, as a world server.

`python -m cellwall_lab.backends.local ARM_CONFIG.json` starts stores, metadata nodes, storage hosts, front
end, load and limiter, serves the verbs, and ends everything at `stop`, on SIGTERM, or when any child
crashes. Decides nothing itself: what the verbs mean is `world`, what they do to the processes `local_ground`, what
these are `processes`, how they are brought up `bringup`.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from .bringup import bring_up
from .config import ArmConfig
from .local_ground import LocalGround
from .world import keep, run


async def main(config: ArmConfig) -> int:
    config.spec.check(force=config.force)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    running = await bring_up(config, stopped)
    if running is None:
        return 1
    return await keep(LocalGround(running), stopped)


if __name__ == "__main__":
    sys.exit(run(main))
