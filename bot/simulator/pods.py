"""A simulated workload and its pods: what they are now is a function of the clock."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.simulator.timeline import Timeline

FURTHEST_FIRST = [Phase.READY, Phase.FAILED, Phase.LOADING, Phase.PULLING, Phase.SCHEDULING]


@dataclass(slots=True)
class Pod:
    """One replica; without a node it waits for GPUs."""

    node: str = ""
    timeline: Timeline | None = None


@dataclass(slots=True)
class Running:
    """A workload as the simulated API server stores it."""

    spec: Spec
    record: Record
    created: datetime
    version: int
    replicas: int
    queued: datetime
    pods: list[Pod] = field(default_factory=list)
    seen: tuple[object, ...] = ()

    def phase(self, now: datetime) -> tuple[Phase, datetime]:
        """One replica that is ready makes the workload ready; else the one that is furthest."""
        if not self.pods and self.record.queued_since:
            return Phase.QUEUED, self.record.queued_since
        if not self.pods:
            return Phase.ASLEEP, self.queued
        phases = [pod.timeline.phase(now) for pod in self.pods if pod.timeline]
        if not phases:
            return Phase.QUEUED, self.queued
        return min(phases, key=lambda found: FURTHEST_FIRST.index(found[0]))

    def servers(self, now: datetime) -> list[str]:
        """The ids of the ready replicas."""
        starts = [pod.timeline for pod in self.pods if pod.timeline]
        ready = [start for start in starts if start.phase(now)[0] is Phase.READY]
        return [f"{number}/{start.begun.isoformat()}" for number, start in enumerate(ready)]

    def view(self, now: datetime) -> Workload:
        """The workload as the port shows it."""
        phase, since = self.phase(now)
        timelines = [pod.timeline for pod in self.pods if pod.timeline]
        failed = phase is Phase.FAILED
        return Workload(
            spec=self.spec,
            record=self.record,
            phase=phase,
            since=since,
            created=self.created,
            version=str(self.version),
            replicas=self.replicas,
            ready_replicas=sum(line.phase(now)[0] is Phase.READY for line in timelines),
            nodes=tuple(sorted({pod.node for pod in self.pods if pod.node})),
            cause="crashed" if failed else "",
            evidence=timelines[0].fails if failed else "",
        )

    def set_replicas(self, replicas: int, now: datetime) -> None:
        """Add or remove pods."""
        self.replicas = replicas
        self.queued = now
        self.pods = self.pods[:replicas]
        self.pods += [Pod() for _ in range(replicas - len(self.pods))]


def gpus_by_node(running: Iterable[Running]) -> dict[str, Counter[str]]:
    """GPUs on each node by the name of what holds them."""
    used: dict[str, Counter[str]] = {}
    for one in running:
        for pod in one.pods:
            if pod.node:
                held = used.setdefault(pod.node, Counter())
                held[one.spec.name] += one.spec.tensor_parallel_size
    return used
