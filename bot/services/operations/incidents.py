"""Finds what is wrong now with models, nodes and the bot itself."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta

from bot.core.alerts.state import Alert, AlertKind, AlertState, Incident
from bot.core.bulkhead import Bulkhead, WorkKind
from bot.core.chat.reply import Button
from bot.core.deployment.cards import buttons
from bot.core.deployment.ending import ENDS_FORGIVEN, Ending
from bot.core.deployment.names import object_name
from bot.core.deployment.record import SleepReason
from bot.core.deployment.workload import Phase, Workload
from bot.core.failures.remedies import fixes
from bot.core.idle.verdict import IdleState
from bot.core.ports import Clock, ClusterReader, Figures, Messenger
from bot.services.idle.activity import Activity

GPU_FAULTS = ("gpu_lost", "gpu_hardware")
"""Causes that lie with a node's GPUs."""
FAULT_LASTS = timedelta(days=1)
"""How long a GPU that has failed a model is an incident, if nothing else is heard of it."""
ABOUT_A_MODEL = (AlertKind.FAILED, AlertKind.SLOW, AlertKind.KEPT, AlertKind.WAITING, AlertKind.ENDING)
STARTING = (Phase.SCHEDULING, Phase.PREPARING, Phase.PULLING, Phase.DOWNLOADING, Phase.LOADING)
WAITS_LONG = timedelta(minutes=30)
"""How long a deployment may wait in the queue before it is an incident."""
ENDS_LONG = timedelta(minutes=5)
"""How long a pod may take to end before it is an incident."""
AWAY_LONG = timedelta(minutes=2)
"""How long a platform may be away before it is an incident."""
FULL = 0.85
"""A volume that is fuller than this is an incident; from 0 to 1."""


class Incidents:
    """Finds incidents in what is in memory; it sends no request. `down` names the parts of the bot that have
    not worked for a while."""

    def __init__(
        self,
        cluster: ClusterReader,
        messenger: Messenger,
        activity: Activity,
        bulkhead: Bulkhead,
        down: Callable[[], Sequence[str]],
        gpus_per_node: int,
        clock: Clock,
    ) -> None:
        self._cluster, self._messenger = cluster, messenger
        self._activity, self._clock = activity, clock
        self._bulkhead, self._down, self._gpus_per_node = bulkhead, down, gpus_per_node
        self._away: dict[str, datetime] = {}

    def current(self, state: AlertState) -> Iterator[Incident]:
        """All incidents; that of a failed model goes on until the model is ready again, or sleeps. `state` is
        that of the alerts so far."""
        nodes = {node.name for node in self._cluster.nodes() if node.schedulable}
        for workload in self._cluster.workloads():
            found = list(_as_before(state, workload.name))
            with self._bulkhead.isolated(WorkKind.INCIDENT, workload.name):
                found = list(self._about_one(workload, state, nodes))
            yield from found
        unreadable = self._cluster.unreadable()
        for name in {a.about for a in state.alerts.values() if object_name(a.about) in unreadable}:
            yield from _as_before(state, name)
        yield from self._of_nodes(state)
        yield from self._of_figures(self._activity.figures)
        yield from self._of_the_bot()

    def _about_one(self, workload: Workload, state: AlertState, nodes: Set[str]) -> Iterator[Incident]:
        """All that is wrong with a model, or with its node of `nodes` because of it."""
        if (end := self._faulty(workload)) is None:
            yield from self._of(workload, state)
        elif end.node in nodes:
            yield Incident(AlertKind.FAULT, end.node, workload.name, evidence=end.evidence)

    def _of(self, workload: Workload, state: AlertState) -> Iterator[Incident]:
        now, record = self._clock.now(), workload.record
        policy = self._activity.policy
        before = state.alerts.get(f"{AlertKind.FAILED.value}:{workload.name}")
        if workload.phase is Phase.FAILED:
            yield self._failed(workload)
        elif before and before.ended is None and (going_on := _going_on(workload, before)):
            yield going_on
        elif workload.phase in STARTING and now - workload.tried_since >= policy.failed_after:
            yield _about(workload, AlertKind.SLOW, evidence=workload.evidence)
        if record.queued_since and now - record.queued_since >= WAITS_LONG:
            yield _about(workload, AlertKind.WAITING)
        if workload.ending_since and now - workload.ending_since >= ENDS_LONG:
            yield _about(workload, AlertKind.ENDING)
        if record.keep_until and record.keep_until > now and workload.phase is Phase.READY:
            yield from self._kept(workload, now)

    def _faulty(self, workload: Workload) -> Ending | None:
        """How a model ended lately that a node's GPUs have failed again and again; None if that is not why.

        It is an incident of the node, one however many models there are, until somebody drains it; also while
        the model sleeps because of it."""
        end = workload.last_end
        if end is None or not end.node or end.cause not in GPU_FAULTS or end.number <= ENDS_FORGIVEN:
            return None
        return end if self._clock.now() - end.at < FAULT_LASTS else None

    def _failed(self, workload: Workload) -> Incident:
        return _about(
            workload,
            AlertKind.FAILED,
            workload.cause or "unknown",
            workload.evidence,
            (*buttons("logs", workload=workload), *fixes(workload, self._gpus_per_node)),
            tries=workload.ends,
        )

    def _kept(self, workload: Workload, now: datetime) -> Iterator[Incident]:
        """Nobody has used it for its window, and it is awake only because somebody keeps it."""
        verdict = self._activity.verdict(workload)
        unused = verdict.state is IdleState.ACTIVE and not verdict.in_flight and not verdict.running
        if unused and now - verdict.since >= self._activity.policy.window_of(workload):
            yield _about(workload, AlertKind.KEPT, actions=buttons("sleep", workload=workload))

    def _of_nodes(self, state: AlertState) -> Iterator[Incident]:
        nodes = {node.name: node for node in self._cluster.nodes()}
        for name, most in state.gpus.items():
            if name not in nodes or not nodes[name].ready:
                yield Incident(AlertKind.NODE, name)
            elif nodes[name].total < most:
                yield Incident(AlertKind.FEWER, name, f"{nodes[name].total}/{most}")

    def _of_figures(self, figures: Figures) -> Iterator[Incident]:
        for host, number in figures.faults.items():
            yield Incident(AlertKind.FAULT, host, f"XID {number}")
        own_pods = {f"{self._cluster.namespace}/{pod}" for pod in self._pods()}
        for node in self._cluster.nodes():
            for holder, gpus in node.used.items():
                if "/" in holder and holder not in own_pods and figures.busy.get(holder, 1.0) == 0:
                    yield Incident(AlertKind.FOREIGN, holder, str(gpus), where=node.name)
        for volume, share in figures.volumes.items():
            if share > FULL:
                yield Incident(AlertKind.VOLUME, volume, f"{share:.0%}")

    def _pods(self) -> Sequence[str]:
        return [server.pod for w in self._cluster.workloads() for server in self._cluster.servers(w.name)]

    def _of_the_bot(self) -> Iterator[Incident]:
        for about, works in self._bulkhead.lasting().items():
            yield Incident(AlertKind.SWEEP, about, works)
        for part in self._down():
            yield Incident(AlertKind.PART, part)
        for deployment in self._cluster.written_by_newer():
            yield Incident(AlertKind.NEWER, deployment)
        for thing, why in self._cluster.unreadable().items():
            yield Incident(AlertKind.UNREADABLE, thing, why)
        for right in self._cluster.missing_rights():
            yield Incident(AlertKind.RIGHT, right)
        now, away = self._clock.now(), self._messenger.away()
        self._away = {name: self._away.get(name, now) for name in away}
        for name, since in self._away.items():
            if now - since >= AWAY_LONG:
                yield Incident(AlertKind.CHAT, name)


def _going_on(workload: Workload, before: Alert) -> Incident | None:
    """The failure of a model that is tried again, or was given up; None: it is over."""
    state, asleep = workload.record.sleep_state, workload.phase in (Phase.DRAINING, Phase.ASLEEP)
    given_up = asleep and state is not None and state.reason is SleepReason.FAILED
    if workload.phase is Phase.READY or (asleep and not given_up):
        return None
    going_on = _about(workload, AlertKind.FAILED, before.detail, before.evidence, tries=before.tries)
    return replace(going_on, where=going_on.where or before.where, given_up=given_up)


def _as_before(state: AlertState, name: str) -> Iterator[Incident]:
    """What was wrong with a model before nobody could tell."""
    for alert in state.alerts.values():
        if alert.about == name and alert.kind in ABOUT_A_MODEL and alert.ended is None:
            shown = alert.kind, name, alert.detail, alert.owner, alert.where, alert.evidence, alert.tries
            yield Incident(*shown)


def _about(
    workload: Workload,
    kind: AlertKind,
    detail: str = "",
    evidence: str = "",
    actions: Sequence[Button] = (),
    tries: int = 0,
) -> Incident:
    where, owner = ", ".join(workload.nodes), workload.record.owner_name
    return Incident(kind, workload.name, detail, owner, where, evidence, tries, tuple(actions))
