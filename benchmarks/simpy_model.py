"""The same world in SimPy, as one would write it there: a process for each server and each metadata node.

Renewal, time limit, retry wait, processor sharing by pages, hang-ups and a cut; one node a cell, no weights. It is what
benchmarks/engine.py measures the kernel against, and its share of servers out shows that it is the same model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any

import simpy

from cellwall.capacity import Costs
from cellwall.spec import RenewalPolicy
from cellwall_lab.backends.chance import Stream
from cellwall_lab.backends.timeline import DELAY_S


class Request:
    def __init__(self, env: simpy.Environment, records: int) -> None:
        self.left, self.gone, self.answer = records, False, env.event()


class Node:
    def __init__(self, env: simpy.Environment, costs: Costs, page_records: int, cores: float) -> None:
        self.env, self.costs, self.page_records, self.cores = env, costs, page_records, cores
        self.turns: deque[Request] = deque()
        self.owed = 0
        self.work = env.event()
        env.process(self.run())

    def arrive(self, request: Request) -> None:
        self.owed += 1
        self.turns.append(request)
        if not self.work.triggered:
            self.work.succeed()

    def run(self) -> Generator[simpy.Event, Any, None]:
        while True:
            while self.turns and self.turns[0].gone:
                self.turns.popleft()
            if not self.turns:
                self.work = self.env.event()
                yield self.work
                continue
            request = self.turns.popleft()
            page = min(self.page_records, request.left)
            work_s = self.owed * self.costs.c_request_s + page * self.costs.c_record_s
            self.owed = 0
            yield self.env.timeout(work_s / self.cores)
            request.left -= page
            if request.left > 0:
                self.turns.append(request)
            elif not request.gone:
                self.env.timeout(DELAY_S).callbacks.append(request.answer.trigger)


class Server:
    def __init__(
        self, env: simpy.Environment, node: Node, records: int, policy: RenewalPolicy, chance: Stream, first_s: float
    ) -> None:
        self.env, self.node, self.records, self.policy, self.chance = env, node, records, policy, chance
        self.available = self.cut = False
        self.process = env.process(self.run(first_s))

    def run(self, wait_s: float) -> Generator[simpy.Event, Any, None]:
        retry = self.policy.retry
        while True:
            request = Request(self.env, self.records)
            try:
                yield self.env.timeout(wait_s)
                if self.cut:
                    yield self.env.timeout(DELAY_S)
                    done = False
                else:
                    limit = self.env.timeout(self.policy.time_limit_s)
                    yield self.env.timeout(DELAY_S)
                    self.node.arrive(request)
                    yield request.answer | limit
                    done = request.answer.processed
            except simpy.Interrupt:  # the link is lost
                done = False
            self.available = done
            if done:
                jitter = self.policy.jitter_ratio * (2 * self.chance.random() - 1)
                wait_s = self.policy.renew_every_s * (1 + jitter)
            else:
                request.gone = True
                wait_s = retry.wait_min_s + (retry.wait_max_s - retry.wait_min_s) * self.chance.random()


def cut(env: simpy.Environment, servers: list[Server], at_s: float, for_s: float) -> Generator[simpy.Event, Any, None]:
    yield env.timeout(at_s)
    for server in servers:
        server.cut = True
        server.process.interrupt()
    yield env.timeout(for_s)
    for server in servers:
        server.cut = False
