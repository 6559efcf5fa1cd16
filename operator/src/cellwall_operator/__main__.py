"""`python -m cellwall_operator`: watches all the time, and acts while it holds the lease.

Decides how the process is put together and in which order things start and end. One way through: kopf → cache →
scheduler → reconciler (observe → plan → apply). It ends when kopf ends (a signal, or a watch that cannot go on); its
Deployment starts it again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from functools import partial
from random import Random

import aiohttp
import uvloop
from aiohttp import web

from . import handlers, http, listing
from .api import CHILDREN, LEASES, OWN, Api, Configuration, Object, configured
from .apply import Applier
from .cache import Cache, Key
from .errors import CellwallError, Refused
from .events import Events
from .lease import Elector
from .metrics import Metrics
from .objects import Installation
from .plan.whole import plan
from .reconciler import MakePlan, Reconciler
from .scheduler import Scheduler
from .settings import Settings, parse

TRY_AGAIN_S = 2.0  # a cluster that cannot be reached yet, or lacks the CRDs

log = logging.getLogger("cellwall_operator")


class Leases:
    """The one lease, as `lease.Store` wants it."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api, self._namespace, self._name = api, namespace, name

    async def read(self) -> Object:
        return await self._api.get(LEASES, self._namespace, self._name)

    async def create(self, spec: Object) -> Object:
        metadata = {"namespace": self._namespace, "name": self._name}
        manifest = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
        return await self._api.create(manifest)

    async def replace(self, lease: Object) -> Object:
        return await self._api.replace(lease)


class Operator:
    """All parts of the process, wired."""

    def __init__(
        self, settings: Settings, configuration: Configuration, session: aiohttp.ClientSession, plan: MakePlan
    ) -> None:
        self.settings = settings
        monotonic = time.monotonic
        self.metrics = Metrics(self._oldest_s, self._leads)
        self.api = Api(configuration, self.metrics.wrote)
        self.cache = Cache(self._wake)
        self.pods = http.Pods(session, self.cache.pods, self._wake, self.metrics)
        events = Events(self.api, settings.identity, monotonic)
        applier = Applier(self.api, events, self.cache.put, self.pods.begin, self.metrics.did)
        installation = Installation(services_image=settings.services_image, pull_policy=settings.pull_policy)
        self.reconciler = Reconciler(self.cache, self.pods, applier, plan, installation, self.metrics)
        self.scheduler = Scheduler(
            self.reconciler.reconcile,
            self.cache.keys,
            self.reconciler.forget,
            self.metrics.noticed.observe,
            settings.resync_s,
            Random(),
            monotonic,
        )
        leases = Leases(self.api, settings.lease_namespace, settings.lease_name)
        self.elector = Elector(leases, settings.identity, monotonic)
        self.metrics.services.set_function(lambda: len(self.scheduler))
        for kind in (*OWN, *CHILDREN):
            self.metrics.objects.labels(kind.kind).set_function(partial(self.cache.count, kind.kind))
        self.listed = False
        self.stop = asyncio.Event()

    # Parts that are told of before they exist.

    def _wake(self, key: Key) -> None:
        self.scheduler.wake(key)

    def _oldest_s(self) -> float:
        return self.scheduler.oldest_s()

    def _leads(self) -> bool:
        return self.elector.leads

    async def run(self) -> None:
        """Until a signal, or until something cannot go on."""
        runner = web.AppRunner(self.metrics.app(lambda: self.listed), access_log=None)
        await runner.setup()
        host, port = self.settings.host, self.settings.metrics_port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise Refused(f"--host, --metrics-port: {host}:{port} cannot be bound ({error.strerror})") from None
        try:
            async with self.api:
                await self._until_seen()
                self.listed = True
                log.info("watching %s", ", ".join(self.settings.namespaces) or "all namespaces")
                acting = asyncio.create_task(self._act(), name="acting")
                acting.add_done_callback(lambda _: self.stop.set())

                async def ending() -> None:
                    acting.cancel()
                    await asyncio.wait([acting])
                    await runner.cleanup()

                await handlers.watch(self.cache, self.api.session, self.settings.namespaces, self.stop, ending)
                if not acting.cancelled():
                    acting.result()  # what went wrong, if something did
        finally:
            await runner.cleanup()

    async def _act(self) -> None:
        if self.settings.leader_election:
            await self.elector.run(self._lead)
        else:
            self.elector.leads = True
            await self._lead()

    async def _lead(self) -> None:
        """What only one of several does at a time. First it sees what the one before it did."""
        await self._until_seen()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.scheduler.run())
            group.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(listing.SWEEP_S)
            try:
                missed = await self._look()
            except CellwallError as error:
                log.warning("list: %s", error)
                continue
            if missed:
                self.metrics.missed.inc(missed)
                log.warning("list: %d objects had changed or gone unseen by the watch", missed)

    async def _until_seen(self) -> None:
        """The cluster is there, knows our resources and lets us read; wait until that is so."""
        while True:
            try:
                await self._look()
                return
            except CellwallError as error:
                log.error("cannot act yet: %s", error)
                await asyncio.sleep(TRY_AGAIN_S)

    async def _look(self) -> int:
        """See all there is; how many objects differed from what was known."""
        self.reconciler.found(
            can_resize=await listing.can_resize(self.api), definitions=await listing.other_definitions(self.api)
        )
        return await listing.fill(self.cache, self.api, self.settings.namespaces)


async def run(settings: Settings) -> None:
    configuration = await configured(settings.kubeconfig, settings.kube_context)
    async with http.session() as session:
        await Operator(settings, configuration, session, plan).run()


def main() -> int:
    settings = parse()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("kubernetes").setLevel(logging.ERROR)  # it warns of what is then raised
    try:
        uvloop.run(run(settings))
    except CellwallError as error:
        print(f"cellwall-operator: {error}", file=sys.stderr)
        return 3 if isinstance(error, Refused) else 1
    except KeyboardInterrupt:  # while it waits for a cluster; later, kopf ends it in order
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
