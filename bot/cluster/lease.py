"""Leadership by a Lease of the Kubernetes API, by the official client's leader election.

That election goes on for longer than its renew deadline, and does not release what it holds:
`LeaseLeadership` mends this around it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog
from kubernetes.aio.client import ApiClient
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection

from bot.cluster.client import ApiError, connect
from bot.cluster.lease_lock import NAME, Lock, Timing, host, identity, is_guest
from bot.core.ports import Gone, Work

USUAL_TIMING = Timing()

log = structlog.get_logger()
logging.getLogger("kubernetes.aio.leaderelection").setLevel(logging.CRITICAL)  # we say it in our own words


class LeaseLeadership:
    """Leads while it holds the Lease. A guest does not wait for it: once it has seen somebody else at work it
    stays out of the way, and it gives the Lease to a service that wants it."""

    def __init__(
        self, client: ApiClient, namespace: str, identity: str, timing: Timing = USUAL_TIMING
    ) -> None:
        self._client, self._namespace = client, namespace
        self._identity, self._timing = identity, timing
        self._lock: Lock | None = None

    @property
    def holder(self) -> str:
        """The pod or machine of the process that leads, as last seen."""
        return host(self._lock.holder) if self._lock else ""

    async def lead(self, work: Work, otherwise: Work, gone: Gone | None = None) -> None:
        """Do `work` while we hold the Lease, `otherwise` while somebody else does; for ever. A guest that
        stays out of the way calls `gone` once, when nobody has renewed the Lease for as long as it lasts."""
        while await self._term(work, otherwise):
            pass
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(otherwise())
            if gone:
                tasks.create_task(self._tell(gone))

    async def _tell(self, gone: Gone) -> None:
        assert self._lock is not None  # there was a term
        await gone(host(await self._lock.deserted()))

    async def _term(self, work: Work, otherwise: Work) -> bool:
        """Wait for the Lease, and work until it is lost; False if we are not to try again."""
        lock = self._lock = Lock(self._namespace, self._identity, self._client, self._timing)
        election, elected = self._election(lock)
        try:
            if not await self._win(lock, election, elected, otherwise):
                return False
            log.info("lease.acquired", identity=self._identity)
            await self._work(lock, election, work)
            log.warning("lease.lost", identity=self._identity, holder=lock.holder)
            return not (is_guest(self._identity) and lock.must_stop.is_set())
        finally:
            await _end(election)
            await lock.release()

    def _election(self, lock: Lock) -> tuple[asyncio.Task[None], asyncio.Event]:
        """The election, at work; and what is set once it is won."""
        elected = asyncio.Event()

        async def won() -> None:
            elected.set()

        timing = self._timing
        config = Config(lock, timing.lease, timing.renew_deadline, timing.retry, won, None)
        return asyncio.create_task(LeaderElection(config).run()), elected

    async def _win(
        self, lock: Lock, election: asyncio.Task[None], elected: asyncio.Event, otherwise: Work
    ) -> bool:
        """Wait until we are elected; False if we stay a guest."""
        await _until_one_ends(election, elected.wait(), lock.another_is_alive.wait())
        if elected.is_set():
            return True
        if is_guest(self._identity):
            return False
        log.info("lease.waiting", identity=self._identity, holder=lock.holder)
        await _until_one_ends(election, elected.wait(), otherwise())
        return elected.is_set()

    async def _work(self, lock: Lock, election: asyncio.Task[None], work: Work) -> None:
        """Work until the Lease is lost; the Lease is renewed until the work has really ended."""
        await _until_one_ends(election, lock.expired(), work())


async def _until_one_ends(election: asyncio.Task[None], *coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run the coroutines until one of them or the election has ended; then cancel the other coroutines, and
    leave the election running. Raises what the one that ended raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait({election, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _end(*tasks)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def lease_leadership(kubeconfig: str, namespace: str, *, guest: bool) -> AsyncIterator[LeaseLeadership]:
    """With connections of its own, so that no other request delays a renewal; UserError when the API cannot
    be reached, or does not let us have Leases."""
    api = await connect(kubeconfig)
    try:
        try:
            await api.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{NAME}")
        except ApiError as error:
            if error.status != 404:
                raise
        yield LeaseLeadership(api.client, namespace, identity(guest=guest))
    finally:
        await api.close()
