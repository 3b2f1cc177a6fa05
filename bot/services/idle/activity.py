"""Who uses which model, and what the models' servers say they do."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from bot.core.changes import Changes
from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle.verdict import ActivityWindow, IdlePolicy, IdleVerdict, LivenessInputs
from bot.core.ports import Clock, Figures, Inference, Load, Monitoring, Workloads

REMEMBER_EVERY = timedelta(minutes=5)
"""A person's use is written to the cluster at most this often."""
SCRAPES_AT_ONCE = 50


class Activity:
    """Own requests in flight, people's last use, and what the servers showed since the bot began."""

    def __init__(
        self,
        cluster: Workloads,
        inference: Inference,
        clock: Clock,
        policy: IdlePolicy,
        monitoring: Monitoring | None = None,
    ) -> None:
        self._cluster, self._inference, self._clock = cluster, inference, clock
        self._monitoring = monitoring
        self._windows: dict[str, ActivityWindow] = {}
        self._asked: dict[str, datetime] = {}
        self._gate = asyncio.Semaphore(SCRAPES_AT_ONCE)
        self._in_flight: Counter[str] = Counter()
        self._draining: set[str] = set()
        self._drained = Changes()
        self.policy = policy
        self.figures = Figures()
        """What the cluster's monitoring showed at the last sweep."""

    @contextmanager
    def answering(self, name: str) -> Iterator[None]:
        """Counts one question as in flight; whoever drains the model waits for its end."""
        self._in_flight[name] += 1
        try:
            yield
        finally:
            self._in_flight[name] -= 1
            self._asked[name] = self._clock.now()

    def in_flight(self, name: str) -> int:
        """Questions of ours that the model is answering now."""
        return self._in_flight[name]

    def draining(self, name: str) -> bool:
        """The model is about to sleep: no new question may go to it."""
        return name in self._draining

    def drained(self) -> AsyncIterator[str]:
        """Names of models whose draining ends, from now on; for ever."""
        return self._drained.listen()

    @contextmanager
    def drain(self, name: str) -> Iterator[None]:
        """No new question goes to the model until the end of the block."""
        self._draining.add(name)
        try:
            yield
        finally:
            self._draining.discard(name)
            self._drained.tell(name)

    async def record_use(self, workload: Workload, user: User) -> None:
        """Remember that a person uses it now."""
        now = self._clock.now()
        last = workload.record.last_uses.get(user.id)
        if last is None or now - last.at >= REMEMBER_EVERY:
            await self._cluster.update_record(workload.name, last_uses=workload.record.with_use(user, now))

    async def sample(self, workload: Workload) -> Load | None:
        """Ask its servers what they do; None unless all of them say."""
        loads = await self._scrape(workload)
        if loads:
            activity_window = self._windows.setdefault(workload.name, ActivityWindow())
            activity_window.add_sample(self._clock.now(), loads, self.policy.window_of(workload))
        return self.load(workload) if loads else None

    async def sample_after_probe(self, workload: Workload) -> None:
        """Look again after a question of our own, which is no sign of life."""
        if loads := await self._scrape(workload):
            self._windows[workload.name].ignore_probe(loads)

    async def _scrape(self, workload: Workload) -> dict[str, Load]:
        if workload.phase is not Phase.READY:
            return {}
        servers = self._cluster.servers(workload.name)
        async with self._gate:
            loads = await asyncio.gather(*(self._inference.load(server.url) for server in servers))
        found = {server.id: load for server, load in zip(servers, loads, strict=True) if load is not None}
        return found if len(found) == len(servers) else {}

    async def sweep(self) -> None:
        """Ask every ready server."""

        async def sample(workload: Workload) -> None:
            with suppress(UserError):  # gone meanwhile
                await self.sample(workload)

        workloads = self._cluster.workloads()
        await asyncio.gather(*map(sample, workloads))
        if self._monitoring is not None:
            self.figures = await self._monitoring.figures()
        names = {workload.name for workload in workloads}
        for gone in (set(self._windows) | set(self._asked)) - names:
            self._windows.pop(gone, None)
            self._asked.pop(gone, None)
        self._in_flight = +self._in_flight  # without those that are zero

    def load(self, workload: Workload) -> Load | None:
        """What its servers said last, together."""
        activity_window = self._windows.get(workload.name)
        if activity_window is None or workload.phase is not Phase.READY:
            return None
        loads = activity_window.loads.values()
        return Load(
            sum(it.running for it in loads), sum(it.waiting for it in loads), sum(it.tokens for it in loads)
        )

    def verdict(self, workload: Workload, early: timedelta = timedelta(0)) -> IdleVerdict:
        """Whether it is idle now; or would be, if its window were that much shorter."""
        since = max(
            workload.last_used,
            workload.record.start_requested_at,
            self._asked.get(workload.name, workload.since),
        )
        inputs = LivenessInputs(
            since, workload.record.keep_until, self._in_flight[workload.name], self._gpus(workload)
        )
        activity_window = self._windows.get(workload.name, ActivityWindow())
        window = self.policy.window_of(workload) - early
        return activity_window.judge(self._clock.now(), inputs, window, self.policy.interval)

    def _gpus(self, workload: Workload) -> float:
        """How busy its GPUs were lately, if the cluster's monitoring says."""
        if not self.figures.busy:
            return 0.0
        pods = [f"{self._cluster.namespace}/{s.pod}" for s in self._cluster.servers(workload.name)]
        return max((self.figures.busy.get(pod, 0.0) for pod in pods), default=0.0)

    def idle_since(self, workload: Workload) -> datetime:
        """When it last did something, as far as we know; ready counts as something."""
        return self.verdict(workload).since
