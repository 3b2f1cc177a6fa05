"""A simulated workload and its pods: what they are now is a function of the clock."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.simulator.timeline import Timeline

FURTHEST_FIRST = [Phase.READY, Phase.FAILED, Phase.LOADING, Phase.PULLING, Phase.SCHEDULING]
"""Which of its pods tells the phase of a workload."""


@dataclass(slots=True)
class Pod:
    """One replica."""

    node: str = ""
    """Where it runs; empty while it waits for GPUs."""
    timeline: Timeline | None = None
    """How its start goes on, once it has a node."""


@dataclass(slots=True)
class SimulatedWorkload:
    """A workload as the simulated API server stores it."""

    spec: Spec
    record: Record
    created: datetime
    version: int
    """The resourceVersion: another one after each change."""
    replicas: int
    """How many there should be; 0 is asleep."""
    queued: datetime
    """Since when its pods wait for GPUs; without pods, since when it sleeps."""
    pods: list[Pod] = field(default_factory=list)
    seen: tuple[object, ...] = ()
    """Phase, nodes and ready replicas that listeners were told of last."""

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


def gpus_by_node(running: Iterable[SimulatedWorkload]) -> dict[str, Counter[str]]:
    """GPUs on each node by the name of what holds them."""
    used: dict[str, Counter[str]] = {}
    for one in running:
        for pod in one.pods:
            if pod.node:
                held = used.setdefault(pod.node, Counter())
                held[one.spec.name] += one.spec.tensor_parallel_size
    return used
