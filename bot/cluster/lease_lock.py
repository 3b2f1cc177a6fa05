"""The Lease of the Kubernetes API as the official client's leader election reads and writes it.

That election neither bounds its requests nor survives a connection that breaks, and takes times from the wall
clock, which may be set. `Lock` mends this: all times here are those of the event loop's clock."""

import asyncio
import os
import socket
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

NAME = "llm-bot"
"""Of the Lease, in the namespace of the models."""
WANTED = "llm-bot/wanted-by"
"""Annotation of the Lease: the identity of a service that wants it from a guest."""
GUEST = "guest"

log = structlog.get_logger()


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


def identity(*, guest: bool) -> str:
    """The same for no two processes: `host_process`, or `host_process_guest`. Host names and process numbers
    alone are not enough: those of two containers may be equal."""
    process = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return "_".join([socket.gethostname(), process, *([GUEST] if guest else [])])


def is_guest(identity: str) -> bool:
    """It is a terminal's, which makes room for a service."""
    return identity.endswith(f"_{GUEST}")


def host(identity: str) -> str:
    """The pod or machine in an identity; all of it where somebody else wrote it in another form."""
    return identity.removesuffix(f"_{GUEST}").rpartition("_")[0] or identity


@dataclass(frozen=True, slots=True)
class _Renewal:
    """The newest renewal of the Lease that was seen."""

    holder: str
    """Identity; empty if nobody holds it."""
    time: str | None
    """As the holder wrote it, by a clock that is not ours: only good to see that there is another one."""
    seen_at: float
    """When it was first seen, by the loop's clock, in seconds."""


class Lock(LeaseLock):  # type: ignore[misc]
    """The Lease, for one election.

    A request that fails or takes too long is a failed try, whatever went wrong. Whether somebody else's Lease
    is over is decided here: the election sees a free one then, and cannot read it before."""

    def __init__(self, namespace: str, identity: str, client: ApiClient, timing: Timing) -> None:
        super().__init__(NAME, namespace, identity, client)
        self.holder = ""
        """Identity of who holds it, as last seen; empty if nobody does."""
        self.another_is_alive = asyncio.Event()
        """Set once somebody else was seen to take or to renew it."""
        self.must_stop = asyncio.Event()
        """Set once we held it and may work no more: it is not ours now, or we are a guest and a service wants
        it."""
        self._guest = is_guest(identity)
        self._timing = timing
        self._held_since: float | None = None
        """When we asked for the last renewal that succeeded, by the loop's clock; None before the first."""
        self._newest: _Renewal | None = None
        """None before the first look."""

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """(True, the record), where a Lease that we may take has none of its fields; or (False, an
        ApiException), also while it is somebody else's."""
        found, record = await self._read()
        if not found or self.holder == self.identity:
            return found, record
        await self._ask_a_guest_for_it()
        if self._may_take():
            return True, LeaderElectionRecord(None, None, None, None)
        return False, ApiException(status=0, reason="held by another")

    async def _read(self) -> tuple[bool, Any]:
        """(True, the record), or (False, an ApiException)."""
        try:
            async with asyncio.timeout(self._timing.request):
                found, record = await super().get(self.name, self.namespace)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=type(error).__name__)
        if found:
            self._see(record)
        elif record.status == 404:
            self.holder, self._newest = "", _Renewal("", None, self._now())
        return found, record

    def _may_take(self) -> bool:
        """Nobody holds it, or the holder has not renewed it for too long."""
        if not self.holder or self._newest is None:
            return True
        return self._now() - self._newest.seen_at >= self._timing.lease

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """Whether it is ours now."""
        return await self._renewed(self._create(election_record))

    async def _create(self, record: LeaderElectionRecord) -> bool:
        """The client's own asks for `pretty=True`, which it then refuses: that is a text."""
        lease = V1Lease(metadata=V1ObjectMeta(name=self.name), spec=self.update_lease(record))
        try:
            await self.api_instance.create_namespaced_lease(self.namespace, lease)
        except ApiException as error:  # somebody was faster, or the API is away or refuses it
            if error.status != 409:
                log.warning("lease.not_created", status=error.status, why=error.reason)
            return False
        return True

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Whether it is ours now, or still."""
        (self.lease_reference.metadata.annotations or {}).pop(WANTED, None)
        return await self._renewed(super().update(name, namespace, updated_record))

    async def expired(self) -> None:
        """Return when we must not work any more."""
        while not self.must_stop.is_set() and self._held_since is not None:
            left = self._held_since + self._timing.renew_deadline - self._now()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self.must_stop.wait()
            except TimeoutError:
                continue

    async def deserted(self) -> str:
        """Return once it was readable for as long as a Lease lasts, and nobody took or renewed it: who held
        it last."""
        last, seen, since = self.holder, self._newest, self._now()
        while self._now() - since < self._timing.lease:
            await asyncio.sleep(self._timing.retry)
            found, _ = await self._read()
            last = self.holder = self.holder or last
            if not found or self._newest != seen:
                seen, since = self._newest, self._now()
        return last

    async def release(self) -> None:
        """Let somebody else have it at once, if it is ours."""
        found, _ = await self._read()
        if not found or self.holder != self.identity:
            return
        self.lease_reference.spec.holder_identity = None
        self.holder = (self.lease_reference.metadata.annotations or {}).pop(WANTED, "")
        await self._replace()

    def _see(self, record: LeaderElectionRecord) -> None:
        """Remember who holds it; notice that somebody else is alive, and that we may work no more."""
        before, self.holder = self._newest, record.holder_identity or ""
        ours = self.holder == self.identity
        if before is None or (before.holder, before.time) != (self.holder, record.renew_time):
            self._newest = _Renewal(self.holder, record.renew_time, self._now())
            if before is not None and self.holder and not ours:
                self.another_is_alive.set()
        if self._held_since is not None and (not ours or (self._guest and WANTED in self._annotations())):
            self.must_stop.set()

    def _annotations(self) -> dict[str, str]:
        """Of the Lease as last read; changes of what is returned are lost."""
        return dict(self.lease_reference.metadata.annotations or {})

    async def _ask_a_guest_for_it(self) -> None:
        """A terminal that works because nobody else did makes room for the service."""
        if self._guest or not is_guest(self.holder) or WANTED in self._annotations():
            return
        self.lease_reference.metadata.annotations = {**self._annotations(), WANTED: self.identity}
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
