"""Leadership by a Lease of the Kubernetes API, by the official client's leader election.

That election neither bounds its requests nor survives a connection that breaks, goes on for longer than its
renew deadline, and does not release what it holds. `_Lock` and `LeaseLeadership` add this around it."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from bot.cluster.client import ApiError, connect
from bot.core.ports import Work

NAME = "llm-bot"
"""Of the Lease, in the namespace of the models."""
WANTED = "llm-bot/wanted-by"
"""Annotation of the Lease: the identity of a service that wants it from a guest."""
GUEST = "guest"

log = structlog.get_logger()
logging.getLogger("kubernetes.aio.leaderelection").setLevel(logging.CRITICAL)  # we say it in our own words


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds."""

    lease: int = 15
    """After how long without a renewal somebody else may take it."""
    renew_deadline: float = 10.0
    """After how long without a renewal the holder stops its work: before anybody else may begin."""
    retry: float = 2.0
    """Between two tries, of whoever holds it to renew it and of the others to get it."""
    request: float = 4.0
    """How long one request may take."""


USUAL_TIMING = Timing()


def identity(*, guest: bool) -> str:
    """The same for no two processes at a time: `pod_process`; a guest's says that it is one."""
    return "_".join([socket.gethostname(), str(os.getpid()), *([GUEST] if guest else [])])


def _is_guest(identity: str) -> bool:
    return identity.rpartition("_")[2] == GUEST


class _Lock(LeaseLock):  # type: ignore[misc]
    """The Lease: a request that fails or takes too long is a failed try, whatever went wrong."""

    def __init__(self, namespace: str, identity: str, client: ApiClient, timing: Timing) -> None:
        super().__init__(NAME, namespace, identity, client)
        self.holder = ""
        self.others_work = asyncio.Event()
        """Set once another holder was seen to renew it: it is alive."""
        self.lost = asyncio.Event()
        """Set once we hold it no more although we did, or once a service wants it from us, a guest."""
        self._timing = timing
        self._held_since: float | None = None
        """When we asked for the last renewal that succeeded, by the loop's clock; None before the first."""
        self._renew_time: str | None = None

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """(True, the record), or (False, an ApiException)."""
        try:
            async with asyncio.timeout(self._timing.request):
                found, record = await super().get(name, namespace)
                if found:
                    self._see(record)
                    await self._ask_a_guest_for_it()
                elif record.status == 404:
                    self.holder = ""
                return found, record
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=type(error).__name__)

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """Whether it is ours now."""
        return await self._renewed(self._create(election_record))

    async def _create(self, record: LeaderElectionRecord) -> bool:
        """The client's own asks for `pretty=True`, which it then refuses: that is a text."""
        lease = V1Lease(metadata=V1ObjectMeta(name=self.name), spec=self.update_lease(record))
        try:
            await self.api_instance.create_namespaced_lease(self.namespace, lease)
        except ApiException:  # somebody was faster, or the API is away
            return False
        return True

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Whether it is ours now, or still."""
        (self.lease_reference.metadata.annotations or {}).pop(WANTED, None)
        return await self._renewed(super().update(name, namespace, updated_record))

    async def expired(self) -> None:
        """Return when we must not work any more."""
        while not self.lost.is_set() and self._held_since is not None:
            left = self._held_since + self._timing.renew_deadline - self._now()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self.lost.wait()
            except TimeoutError:
                continue

    async def release(self) -> None:
        """Let somebody else have it at once, if it is ours."""
        found, record = await self.get(self.name, self.namespace)
        if not found or record.holder_identity != self.identity:
            return
        self.lease_reference.spec.holder_identity = None
        self.holder = (self.lease_reference.metadata.annotations or {}).pop(WANTED, "")
        await self._replace()

    def _see(self, record: LeaderElectionRecord) -> None:
        """Remember who holds it; notice that another one is alive, and that we are to hold it no more."""
        before, self.holder = self.holder, record.holder_identity or ""
        ours = self.holder == self.identity
        if not ours and self.holder == before and record.renew_time != self._renew_time:
            self.others_work.set()
        self._renew_time = record.renew_time
        wanted = _is_guest(self.identity) and WANTED in (self.lease_reference.metadata.annotations or {})
        if self._held_since is not None and (not ours or wanted):
            self.lost.set()

    async def _ask_a_guest_for_it(self) -> None:
        """A terminal that works because nobody else did makes room for the service."""
        metadata = self.lease_reference.metadata
        if _is_guest(self.identity) or not _is_guest(self.holder) or WANTED in (metadata.annotations or {}):
            return
        metadata.annotations = {**(metadata.annotations or {}), WANTED: self.identity}
        await self._replace()

    async def _replace(self) -> None:
        try:
            async with asyncio.timeout(self._timing.request):
                await self.api_instance.replace_namespaced_lease(
                    self.name, self.namespace, self.lease_reference
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ApiException) as error:
            log.warning("lease.not_changed", why=type(error).__name__)

    async def _renewed(self, request: Coroutine[Any, Any, bool]) -> bool:
        asked_at = self._now()
        try:
            async with asyncio.timeout(self._timing.request):
                done = await request
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
        if done:
            self._held_since, self.holder = asked_at, self.identity
        return done

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class LeaseLeadership:
    """Leads while it holds the Lease. A guest does not wait for it: once it has seen somebody else at work it
    stays out of the way, and it gives the Lease to a service that wants it."""

    def __init__(
        self, client: ApiClient, namespace: str, identity: str, timing: Timing = USUAL_TIMING
    ) -> None:
        self._client, self._namespace = client, namespace
        self._identity, self._timing = identity, timing
        self._lock: _Lock | None = None

    @property
    def holder(self) -> str:
        """The pod or machine of the process that leads, as last seen."""
        return self._lock.holder.partition("_")[0] if self._lock else ""

    async def lead(self, work: Work, otherwise: Work) -> None:
        """Do `work` while we hold the Lease, `otherwise` while somebody else does; for ever."""
        while await self._term(work, otherwise):
            pass
        await otherwise()

    async def _term(self, work: Work, otherwise: Work) -> bool:
        """Wait for the Lease, and work until it is lost; False if we are not to try again."""
        lock = self._lock = _Lock(self._namespace, self._identity, self._client, self._timing)
        election, elected = self._election(lock)
        try:
            if not await self._win(lock, election, elected, otherwise):
                return False
            log.info("lease.acquired", identity=self._identity)
            await self._work(lock, election, work)
            log.warning("lease.lost", identity=self._identity, holder=lock.holder)
            return not (_is_guest(self._identity) and lock.lost.is_set())
        finally:
            await _end(election)
            await lock.release()

    def _election(self, lock: _Lock) -> tuple[asyncio.Task[None], asyncio.Event]:
        """The election, at work; and what is set once it is won."""
        elected = asyncio.Event()

        async def won() -> None:
            elected.set()

        timing = self._timing
        config = Config(lock, timing.lease, timing.renew_deadline, timing.retry, won, None)
        return asyncio.create_task(LeaderElection(config).run()), elected

    async def _win(
        self, lock: _Lock, election: asyncio.Task[None], elected: asyncio.Event, otherwise: Work
    ) -> bool:
        """Wait until we are elected; False if we stay a guest."""
        await _first(election, elected.wait(), lock.others_work.wait())
        if elected.is_set():
            return True
        if _is_guest(self._identity):
            return False
        log.info("lease.waiting", identity=self._identity, holder=lock.holder)
        await _first(election, elected.wait(), otherwise())
        return elected.is_set()

    async def _work(self, lock: _Lock, election: asyncio.Task[None], work: Work) -> None:
        """Work until the Lease is lost; the Lease is renewed until the work has really ended."""
        await _first(election, lock.expired(), work())


async def _first(kept: asyncio.Task[None], *others: Coroutine[Any, Any, Any]) -> None:
    """Until one of them ends; then the others end, but not the one that is to be kept. What failed raises."""
    tasks = [asyncio.create_task(other) for other in others]
    try:
        done, _ = await asyncio.wait({kept, *tasks}, return_when=asyncio.FIRST_COMPLETED)
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
