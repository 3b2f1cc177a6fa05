"""A simulated workload and its pods: their phase depends on the clock alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bot.core.deployment.ending import Ending
from bot.core.deployment.record import Record
from bot.core.deployment.start_times import Stages
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.simulator.timeline import Timeline

FURTHEST_FIRST = [Phase.READY, Phase.FAILED, Phase.LOADING, Phase.PULLING, Phase.PREPARING, Phase.SCHEDULING]
"""The phase of a workload is the first of these that one of its pods has."""


@dataclass(slots=True)
class Pod:
    """A pod of one replica."""

    node: str = ""
    """The name of its node; empty while it waits for GPUs."""
    timeline: Timeline | None = None
    """How its start goes on; None while it has no node."""


@dataclass(slots=True)
class SimulatedWorkload:
    """A workload as the simulated API server stores it."""

    spec: Spec
    """What runs."""
    record: Record
    """What the bot remembers of it."""
    created: datetime
    """When it was created."""
    version: int
    """Its resourceVersion, which is another one after each change."""
    replicas: int
    """The replicas that it should have; 0: it sleeps or is queued."""
    queued: datetime
    """Since when its pods wait for GPUs."""
    available_since: datetime
    """Since when it is available; only right while it has no pods. A Deployment whose pods were ready stays
    available when it is scaled to 0; other ones become available then."""
    pods: list[Pod] = field(default_factory=list)
    """Its pods."""
    seen: tuple[object, ...] = ()
    """Its phase, nodes and ready replicas when listeners last heard of a change."""

    def phase(self, now: datetime) -> tuple[Phase, datetime]:
        """Its phase and since when: that of the pod that is furthest in its start."""
        if not self.pods and self.record.queued_since:
            return Phase.QUEUED, self.record.queued_since
        if not self.pods:
            return Phase.ASLEEP, self.record.asleep_since(self.available_since)
        phases = [pod.timeline.phase(now) for pod in self.pods if pod.timeline]
        if not phases:
            return Phase.QUEUED, self.queued
        return min(phases, key=lambda phase: FURTHEST_FIRST.index(phase[0]))

    def servers(self, now: datetime) -> list[str]:
        """The `Server.id` of each ready replica."""
        starts = [pod.timeline for pod in self.pods if pod.timeline]
        ready = [start for start in starts if start.phase(now)[0] is Phase.READY]
        return [f"{number}-{start.begun.isoformat()}/0" for number, start in enumerate(ready)]

    def view(self, now: datetime) -> Workload:
        """The workload as the port has it."""
        timelines = [pod.timeline for pod in self.pods if pod.timeline]
        end = self._end(timelines, now)
        phase, since = (Phase.FAILED, end.at) if end else self.phase(now)
        return Workload(
            spec=self.spec,
            record=self.record,
            phase=phase,
            since=since,
            created=self.created,
            version=str(self.version),
            replicas=self.replicas,
            ready_replicas=sum(line.phase(now)[0] is Phase.READY for line in timelines),
            placed_replicas=sum(bool(pod.node) for pod in self.pods),
            nodes=tuple(sorted({pod.node for pod in self.pods if pod.node})),
            cause=end.cause if end else "",
            evidence=end.evidence if end else "",
            last_end=end,
            stages=self._stages(now),
        )

    def _stages(self, now: datetime) -> Stages | None:
        """How long the start of the first pod took, if that is ready."""
        first = self.pods[0].timeline if self.pods else None
        ready = first is not None and first.phase(now)[0] is Phase.READY
        return first.stages(f"{self.spec.name}/0", self.queued) if first and ready else None

    def _end(self, timelines: Sequence[Timeline], now: datetime) -> Ending | None:
        """How it ended: as it is recorded (of one that answers nonsense, too), or as a kubelet would tell."""
        known, (phase, at) = self.record.last_end, self.phase(now)
        run, failed = f"{self.spec.name}-{at.isoformat()}/0", phase is Phase.FAILED
        if known and (known.run == run if failed else known.number and known.run in self.servers(now)):
            return known
        end = Ending(number=1, run=run, at=at, cause="crashed", exit_code=1)
        return end.model_copy(update={"evidence": timelines[0].fails}) if failed else None

    def set_replicas(self, replicas: int, now: datetime) -> None:
        """Add pods or remove the last ones."""
        phase, since = self.phase(now)
        if self.pods and not replicas:
            self.available_since = since if phase is Phase.READY else now
        self.replicas = replicas
        self.queued = now
        self.pods = self.pods[:replicas]
        self.pods += [Pod() for _ in range(replicas - len(self.pods))]


def gpus_by_node(running: Iterable[SimulatedWorkload]) -> dict[str, Counter[str]]:
    """The GPUs in use on each node, by the name of the workload that holds them."""
    used: dict[str, Counter[str]] = {}
    for workload in running:
        for pod in workload.pods:
            if pod.node:
                held = used.setdefault(pod.node, Counter())
                held[workload.spec.name] += workload.spec.tensor_parallel_size
    return used
