"""The pods' output, followed through the API server: records into records/, everything else into logs/.

Decides which line is new; never what is in it (a line that begins with "{" is a record, by contract). A stream that
breaks is taken up where it ended: the kubelet's time of each line says how far that was, to the nanosecond.
Invariant: a line is written once, and lines of a pod keep their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cellwall.errors import CellwallError

from . import names
from .api import Api
from .pods import Pod

AGAIN_S = 0.5
_STAMP = re.compile(rb"(?P<second>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<part>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d) ")


class Seam:
    """Which lines of a stream that was begun again are new."""

    def __init__(self) -> None:
        self._last_ns = -1
        self._at_last: set[bytes] = set()  # lines of that very nanosecond

    @property
    def since(self) -> str | None:
        """The second from which on to ask again; None: from the beginning. The API knows no finer time."""
        if self._last_ns < 0:
            return None
        return datetime.fromtimestamp(self._last_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def new(self, stamped: bytes) -> bytes | None:
        """The line without its time, or None if it was there before. A line without a time is new."""
        match = _STAMP.match(stamped)
        if match is None:
            return stamped
        at_ns, line = _nanoseconds(match), stamped[match.end() :]
        if at_ns < self._last_ns or (at_ns == self._last_ns and line in self._at_last):
            return None
        if at_ns > self._last_ns:
            self._last_ns, self._at_last = at_ns, set()
        self._at_last.add(line)
        return line


def _nanoseconds(match: re.Match[bytes]) -> int:
    zone = match["zone"].decode().replace("Z", "+00:00")
    second = int(datetime.fromisoformat(match["second"].decode() + zone).timestamp())
    return second * 10**9 + int((match["part"] or b"0").ljust(9, b"0"))


class Followers:
    """One follower a pod, begun when its container has started."""

    def __init__(self, api: Api, namespace: str, records: Path, logs: Path) -> None:
        self._api, self._namespace, self._records, self._logs = api, namespace, records, logs
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by uid
        self._pods: dict[str, Pod] = {}  # by uid
        self.lines = 0

    def see(self, view: Mapping[str, Pod]) -> None:
        """Begin to follow pods that are new in this view."""
        self._pods = {pod.uid: pod for pod in view.values()}
        for uid, pod in self._pods.items():
            if pod.started and uid not in self._tasks:
                self._tasks[uid] = asyncio.create_task(self._follow(pod))

    async def finish(self, within_s: float, *uids: str) -> bool:
        """Wait until these pods (none named: all) have said their last; whether they have. Does not stop following."""
        tasks = [task for uid, task in self._tasks.items() if not uids or uid in uids]
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=within_s)
        return not late

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, pod: Pod) -> None:
        path = names.core(self._namespace, "pods", pod.name) + "/log"
        seam = Seam()
        with (
            (self._records / f"{pod.name}.ndjson").open("ab", buffering=0) as records,
            (self._logs / f"{pod.name}.log").open("ab", buffering=0) as log,
        ):
            while True:
                ended = self._ended(pod.uid)  # before the stream: what is asked for after the end is complete
                query = {"follow": "true", "timestamps": "true"}
                if seam.since is not None:
                    query["sinceTime"] = seam.since
                with contextlib.suppress(CellwallError):
                    async for lines in self._api.lines(path, query):
                        new = [line for stamped in lines if (line := seam.new(stamped)) is not None]
                        self.lines += len(new)
                        records.write(b"".join(line + b"\n" for line in new if line.startswith(b"{")))
                        log.write(b"".join(line + b"\n" for line in new if not line.startswith(b"{")))
                if ended:
                    return
                await asyncio.sleep(AGAIN_S)

    def _ended(self, uid: str) -> bool:
        """Whether the pod's container has ended for good, or the pod is gone."""
        pod = self._pods.get(uid)
        return pod is None or pod.phase in ("Succeeded", "Failed")
