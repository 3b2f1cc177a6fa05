"""How much each model is used: by people in chat, and by what its servers and the monitoring show."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.changes import Changes, Listening
from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle.verdict import ActivityWindow, IdlePolicy, IdleVerdict, LivenessInputs
from bot.core.ports import Clock, Figures, Inference, Load, Monitoring, Workloads

REMEMBER_EVERY = timedelta(minutes=5)
"""A person's use is written to the cluster at most this often."""
SCRAPES_AT_ONCE = 50
"""Models whose servers are asked at the same time."""


class Activity:
    """Counts questions in flight, keeps samples of every model's servers since the bot started, and judges by
    them whether a model is idle."""

    def __init__(
        self,
        cluster: Workloads,
        inference: Inference,
        clock: Clock,
        policy: IdlePolicy,
        bulkhead: Bulkhead,
        monitoring: Monitoring | None = None,
    ) -> None:
        self._cluster, self._inference, self._clock = cluster, inference, clock
        self._bulkhead, self._monitoring = bulkhead, monitoring
        self._windows: dict[str, ActivityWindow] = {}
        self._last_answer: dict[str, datetime] = {}
        self._gate = asyncio.Semaphore(SCRAPES_AT_ONCE)
        self._in_flight: Counter[str] = Counter()
        self._draining: set[str] = set()
        self._drained = Changes()
        self.policy = policy
        """The idle windows."""
        self.figures = Figures()
        """What the cluster's monitoring showed at the last sweep."""

    @contextmanager
    def answering(self, name: str) -> Iterator[None]:
        """Count one question to the model as in flight until the end of the block."""
        self._in_flight[name] += 1
        try:
            yield
        finally:
            self._in_flight[name] -= 1
            self._last_answer[name] = self._clock.now()

    def in_flight(self, name: str) -> int:
        """Questions from chat that the model is answering now."""
        return self._in_flight[name]

    def draining(self, name: str) -> bool:
        """The model may be about to sleep: no new question may be sent to it."""
        return name in self._draining

    def drained(self) -> Listening:
        """The names of models whose draining ends."""
        return self._drained.listening()

    @contextmanager
    def drain(self, name: str) -> Iterator[None]:
        """Send no new question to the model until the end of the block."""
        self._draining.add(name)
        try:
            yield
        finally:
            self._draining.discard(name)
            self._drained.tell(name)

    async def record_use(self, workload: Workload, user: User) -> None:
        """Store that a person uses it now; at most every REMEMBER_EVERY. UserError if it is gone."""
        now = self._clock.now()
        record = (self._cluster.find(workload.name) or workload).record  # others may have used it since
        last = record.last_uses.get(user.id)
        if last is None or now - last.at >= REMEMBER_EVERY:
            await self._cluster.update_record(workload.name, last_uses=record.with_use(user, now))

    async def sample(self, workload: Workload) -> Load | None:
        """Take a sample of its servers now, and return their loads together; None unless all of them
        answer."""
        loads = await self._scrape(workload)
        if loads:
            activity_window = self._windows.setdefault(workload.name, ActivityWindow(self.policy.interval))
            activity_window.add_sample(self._clock.now(), loads, self.policy.window_of(workload))
        return self.load(workload) if loads else None

    async def sample_after_probe(self, workload: Workload) -> None:
        """Take a sample after a probe; what the probe changed does not count as use."""
        loads = await self._scrape(workload)
        if activity_window := self._windows.get(workload.name):
            activity_window.ignore_probe(loads)

    async def _scrape(self, workload: Workload) -> dict[str, Load]:
        if workload.phase is not Phase.READY:
            return {}
        servers = self._cluster.servers(workload.name)
        async with self._gate:
            loads = await asyncio.gather(*(self._inference.load(server.url) for server in servers))
        by_server = {s.id: load for s, load in zip(servers, loads, strict=True) if load is not None}
        return by_server if len(by_server) == len(servers) else {}

    async def sweep(self) -> None:
        """Take a sample of every model, read the monitoring, and forget models that are gone."""

        async def sample(workload: Workload) -> None:
            with self._bulkhead.isolated(WorkKind.SAMPLE, workload.name), suppress(UserError):  # it is gone
                await self.sample(workload)

        workloads = self._cluster.workloads()
        await asyncio.gather(*map(sample, workloads))
        if self._monitoring is not None:
            with self._bulkhead.isolated(WorkKind.MONITORING):
                self.figures = await self._monitoring.figures()
        names = {workload.name for workload in workloads}
        for gone in (set(self._windows) | set(self._last_answer)) - names:
            self._windows.pop(gone, None)
            self._last_answer.pop(gone, None)
        self._in_flight = +self._in_flight  # without those that are zero

    def load(self, workload: Workload) -> Load | None:
        """The loads of its servers together, in the last sample; None if it is not ready or there is no
        sample."""
        activity_window = self._windows.get(workload.name)
        if activity_window is None or workload.phase is not Phase.READY:
            return None
        loads = activity_window.loads.values()
        return Load(
            sum(it.running for it in loads), sum(it.waiting for it in loads), sum(it.tokens for it in loads)
        )

    def verdict(self, workload: Workload, early: timedelta = timedelta(0)) -> IdleVerdict:
        """Whether it is idle now, or would be if its window were shorter by `early`."""
        since = max(
            workload.last_used,
            workload.record.start_requested_at,
            self._last_answer.get(workload.name, workload.since),
        )
        inputs = LivenessInputs(
            since, workload.record.keep_until, self._in_flight[workload.name], self._gpus(workload)
        )
        activity_window = self._windows.get(workload.name, ActivityWindow(self.policy.interval))
        window = self.policy.window_of(workload) - early
        return activity_window.judge(self._clock.now(), inputs, window)

    def _gpus(self, workload: Workload) -> float:
        """How busy its busiest GPU was lately, from 0 to 1; 0 if the monitoring does not say."""
        if not self.figures.busy:
            return 0.0
        pods = [f"{self._cluster.namespace}/{s.pod}" for s in self._cluster.servers(workload.name)]
        return max((self.figures.busy.get(pod, 0.0) for pod in pods), default=0.0)

    def idle_since(self, workload: Workload) -> datetime:
        """When it was last used or started, as far as is known."""
        return self.verdict(workload).since
