"""What running pods are asked, and what they answered last.

Decides how long an answer is waited for and which answers are kept; never what follows from them. Everything here runs
in tasks of its own, so that a starved node, which may take seconds to answer or never does, keeps nobody waiting; what
comes of it is seen by the next plan. Invariants: a cell has at most one attempt to join running; an answer is kept only
as long as its pod is the same (uid).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import aiohttp
import msgspec

from . import actions, names
from .cache import Key
from .errors import CellwallError, Refused, Unavailable, border, told
from .group_steps import GroupSteps
from .metrics import Metrics
from .objects import Attempt, Host, Joins, Observed, Pod, Statistics, statistics

ASK_S = 5.0  # one question; a node under full load answers within seconds or not at all (guess)
MEET_S = 2.0  # the same when nothing is known yet and a plan waits (guess)
AT_ONCE = 64  # questions under way, over all services
SILENT_TIMES = 3  # a storage pod that has not answered so often is unknown
JOIN_SLACK_S = 10.0  # beyond the deadlines of its partitions, which the node itself keeps

T = TypeVar("T")
log = logging.getLogger(__name__)


class _Version(msgspec.Struct):
    version: int


class _State(msgspec.Struct):
    available: bool


class _Joined(msgspec.Struct):
    outcome: str
    reason: str = ""


_version = msgspec.json.Decoder(_Version)
_states = msgspec.json.Decoder(dict[str, _State])
_joined = msgspec.json.Decoder(_Joined)
_figures = msgspec.json.Decoder(dict[str, dict[str, Any]])


class Answers(msgspec.Struct):
    """Of one service's pods: by pod uid, and by the MetadataCell's name."""

    hosts: dict[str, Host] = {}
    silent: dict[str, int] = {}
    figures: dict[str, bytes] = {}  # /statistics as it came: a tenth of the room of dictionaries
    statistics: dict[str, Statistics] = {}
    joins: dict[str, Joins] = {}


class Pods:
    """``pods(key)``: those known now. ``wake(key)``: an answer has changed something."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        pods: Callable[[Key], Iterable[Pod]],
        wake: Callable[[Key], None],
        metrics: Metrics,
    ) -> None:
        self._session = session
        self._pods = pods
        self._wake = wake
        self._metrics = metrics
        self._answers: dict[Key, Answers] = {}
        self._asks: dict[Key, actions.Ask] = {}
        self._tasks: dict[Key, list[asyncio.Task[None]]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._steps = GroupSteps(self._post, wake)

    # ------------------------------------------------------------ for plans

    def observed(self, key: Key, known: Observed) -> Observed:
        """``known`` with what the pods told."""
        answers = self._answers.get(key) or Answers()
        return msgspec.structs.replace(
            known,
            hosts={pod.name: answers.hosts[pod.uid] for pod in known.pods if pod.uid in answers.hosts},
            statistics=dict(answers.statistics),
            joins=dict(answers.joins),
            told=self._steps.told(key),
        )

    async def meet(self, key: Key) -> None:
        """Ask every pod once, if none was asked since this process leads: a plan that knows nothing of a fleet that is
        well would tell everybody that it is not. Who is too slow is not waited for."""
        if key not in self._answers:
            self._answers[key] = Answers()
            await asyncio.gather(self._ask_hosts(key, MEET_S), self._ask_nodes(key, MEET_S))

    def ask(self, key: Key, ask: actions.Ask | None) -> None:
        """From now on ask this service's pods so often; None: no more. A change counts from the next question."""
        if ask == self._asks.get(key):
            return
        self._stop(key)
        if ask is None:
            self._asks.pop(key, None)
            return
        self._asks[key] = ask
        self._tasks[key] = [
            asyncio.create_task(self._every(key, ask.hosts_every_s, self._ask_hosts), name=f"hosts of {key}"),
            asyncio.create_task(self._every(key, ask.nodes_every_s, self._ask_nodes), name=f"nodes of {key}"),
        ]

    def begin(self, key: Key, action: actions.Join | actions.GroupStep) -> bool:
        return self.join(key, action) if isinstance(action, actions.Join) else self._steps.begin(key, action)

    def join(self, key: Key, action: actions.Join) -> bool:
        """Begin the attempt, unless one of that cell is running; whether it was begun."""
        joins = self._answers.setdefault(key, Answers()).joins
        before = joins.get(action.cell) or Joins()
        if before.running:
            return False
        joins[action.cell] = Joins(running=action.pod, last=before.last)
        task = asyncio.create_task(self._join(key, action), name=f"join of {action.pod}")
        self._tasks.setdefault(key, []).append(task)
        return True

    def forget(self, key: Key) -> None:
        """The service is no more, or no longer ours."""
        self._stop(key, joins=True)
        self._steps.forget(key)
        self._asks.pop(key, None)
        self._answers.pop(key, None)

    # ------------------------------------------------------------ asking

    def _stop(self, key: Key, *, joins: bool = False) -> None:
        kept = []
        for task in self._tasks.pop(key, []):
            if task.done():
                continue
            if joins or not task.get_name().startswith("join"):
                task.cancel()
            else:
                kept.append(task)
        if kept:
            self._tasks[key] = kept

    async def _every(self, key: Key, every_s: float, ask: Callable[[Key, float], Awaitable[bool]]) -> None:
        while True:
            if await ask(key, ASK_S):
                self._wake(key)
            await asyncio.sleep(every_s)

    async def _ask_hosts(self, key: Key, wait_s: float) -> bool:
        """Every storage pod's version of the map, and which of its servers are in service; whether that is news."""
        answers = self._answers.setdefault(key, Answers())
        pods = self._started(key, "storage", names.STORAGE_PORT)
        told = await self._all(self._host(address, wait_s) for _, address in pods)
        before = dict(answers.hosts)
        hosts: dict[str, Host] = {}
        for (pod, _), host in zip(pods, told, strict=True):
            times = 0 if host is not None else answers.silent.get(pod.uid, 0) + 1
            answers.silent[pod.uid] = times
            known = host or (before.get(pod.uid) if times < SILENT_TIMES else None)
            if known is not None:
                hosts[pod.uid] = known
        answers.hosts = hosts
        answers.silent = {pod.uid: answers.silent[pod.uid] for pod, _ in pods}
        return hosts != before

    async def _host(self, address: str, wait_s: float) -> Host:
        version = _version.decode(await self._get("map-version", f"http://{address}/map-version", wait_s))
        states = _states.decode(await self._get("servers", f"http://{address}/servers", wait_s))
        return Host(version.version, len(states), sum(state.available for state in states.values()))

    async def _ask_nodes(self, key: Key, wait_s: float) -> bool:
        """The figures of every cell's nodes; whether they are news. A node that does not answer keeps its last."""
        answers = self._answers.setdefault(key, Answers())
        pods = self._started(key, "node", names.ADMIN_PORT)
        told = await self._all(self._get("statistics", f"http://{address}/statistics", wait_s) for _, address in pods)
        for (pod, _), figures in zip(pods, told, strict=True):
            if figures is not None:
                answers.figures[pod.uid] = figures
        by_cell: dict[str, list[str]] = {}
        for pod in self._pods(key):
            if pod.component == "node" and pod.uid in answers.figures:
                by_cell.setdefault(pod.cell, []).append(pod.uid)
        answers.figures = {uid: answers.figures[uid] for uids in by_cell.values() for uid in uids}
        found: dict[str, Statistics] = {}
        for cell, uids in by_cell.items():
            one = statistics(_figures.decode(answers.figures[uid]) for uid in uids)
            if one is not None:
                found[f"{key[1]}-{cell}"] = one
        before, answers.statistics = answers.statistics, found
        return found != before

    def _started(self, key: Key, component: str, port: int) -> list[tuple[Pod, str]]:
        return [
            (pod, f"{_host_text(pod.ip)}:{port}")
            for pod in self._pods(key)
            if pod.component == component and pod.started and pod.ip and not pod.deleting
        ]

    async def _all(self, questions: Iterable[Coroutine[Any, Any, T]]) -> list[T | None]:
        async def one(question: Coroutine[Any, Any, T]) -> T | None:
            async with self._room:
                try:
                    return await question
                except (CellwallError, msgspec.MsgspecError) as error:
                    log.debug("not told: %s", error)
                    return None

        return list(await asyncio.gather(*map(one, questions)))

    async def _get(self, call: str, url: str, wait_s: float) -> bytes:
        return await self._call(call, "GET", url, wait_s)

    async def _post(self, call: str, method: str, url: str, timeout_s: float, body: bytes) -> bytes:
        return await self._call(call, method, url, timeout_s, data=body)

    async def _call(self, call: str, method: str, url: str, timeout_s: float, **params: Any) -> bytes:
        doing, outcome = f"{method} {url}", "failed"
        try:
            with border(doing):
                timeout = aiohttp.ClientTimeout(total=timeout_s)
                async with self._session.request(method, url, timeout=timeout, **params) as response:
                    body = await response.read()
                    if response.status != 200:
                        raise told(response.status, body.decode(errors="replace")[:300], doing)
            outcome = "done"
            return body
        finally:
            self._metrics.calls.labels(call, outcome).inc()

    # ------------------------------------------------------------ joining

    async def _join(self, key: Key, action: actions.Join) -> None:
        started_s = time.monotonic()
        joined = await self._attempt(action)
        attempt = Attempt(
            pod=action.pod,
            pod_uid=action.pod_uid,
            outcome=joined.outcome,
            took_s=round(time.monotonic() - started_s, 3),
            reason=joined.reason,
            at_s=time.time(),
        )
        log.info("join of %s/%s: %s in %.1f s %s", key[0], action.pod, attempt.outcome, attempt.took_s, attempt.reason)
        self._metrics.joins.labels(attempt.outcome).inc()
        self._answers.setdefault(key, Answers()).joins[action.cell] = Joins(last=attempt)
        self._wake(key)

    async def _attempt(self, action: actions.Join) -> _Joined:
        wanted = {"source": action.source, "partitions": list(action.partitions), "deadline_s": action.deadline_s}
        timeout_s = len(action.partitions) * action.deadline_s + JOIN_SLACK_S
        url = f"http://{_host_text(action.address)}:{names.ADMIN_PORT}/join"
        try:
            return _joined.decode(await self._call("join", "POST", url, timeout_s, data=msgspec.json.encode(wanted)))
        except (Refused, Unavailable, msgspec.MsgspecError) as error:
            return _Joined("refused", str(error))
        except CellwallError as error:
            return _Joined("unknown", str(error))


def session() -> aiohttp.ClientSession:
    """One connection per question: a node's connections are few, and one kept open would survive a pause."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2 * AT_ONCE, force_close=True))


def _host_text(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
