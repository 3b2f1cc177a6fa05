"""The rules for starting, changing, putting to sleep, waking and stopping models."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from rapidfuzz import process

from bot.core.access.roles import Access, Role
from bot.core.chat.duration import end_time
from bot.core.chat.errors import Changed, UserError
from bot.core.chat.message import Place, User
from bot.core.chat.reply import Button
from bot.core.chat.text import t, verbatim
from bot.core.deployment.names import object_name, valid_name
from bot.core.deployment.record import Record, SleepReason, SleepState
from bot.core.deployment.workload import Spec, Workload
from bot.core.ports import Clock, Workloads
from bot.services.deployments.admission import Admission
from bot.services.deployments.gpu_queue import GpuQueue
from bot.services.deployments.until_unchanged import until_unchanged

RECENT = timedelta(hours=1)
"""If somebody else has used a model within this time, `stop` asks first."""


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What a person wants of a deployment besides its spec."""

    ttl: timedelta | None = None
    """How long its lease is; None: as long as the role's quota allows."""
    idle_window: timedelta | None = None
    """How long it may be idle; None: as long as its model may."""
    office_hours: str = ""
    """When it stays awake (`mo-fr 8-20`); empty: it has no office hours."""
    urgent: bool = False
    """It goes to the front of the queue."""


class Lifecycle:
    """Every change that a person asks for goes through here, so that it obeys the rules. All methods raise
    UserError if a rule forbids it, or if the cluster cannot be reached."""

    def __init__(
        self,
        cluster: Workloads,
        access: Access,
        admission: Admission,
        gpu_queue: GpuQueue,
        clock: Clock,
        zone: ZoneInfo,
    ) -> None:
        self._cluster, self._access = cluster, access
        self._admission, self._gpu_queue = admission, gpu_queue
        self._clock, self._zone = clock, zone

    def find(self, name: str) -> Workload:
        """The workload of that name; UserError with similar names if there is none."""
        if workload := self._cluster.find(name):
            return workload
        if object_name(name) in self._cluster.written_by_newer():
            raise UserError(t("workload.newer", name=object_name(name)))
        if why := self._cluster.unreadable().get(object_name(name)):
            raise UserError(t("workload.unreadable", name=object_name(name), why=why))
        names = [workload.name for workload in self._cluster.workloads()]
        similar = process.extract(name[:60], names, limit=3, score_cutoff=50)
        buttons = tuple(Button(verbatim(found), f"status {found}") for found, _, _ in similar)
        raise UserError(t("workload.unknown", name=name[:60]), buttons=buttons)

    def see(self, name: str, user: User) -> Workload:
        """The workload of that name as this person may see it: without anything of its log, unless the person
        owns it or is an admin."""
        workload = self.find(name)
        return workload if self._may_change(workload, user) else workload.without_log

    def own(self, name: str, user: User) -> Workload:
        """The workload of that name; UserError unless the person owns it or is an admin."""
        workload = self.find(name)
        if not self._may_change(workload, user):
            raise UserError(
                t("access.not_yours", name=workload.name, owner=workload.record.owner_name),
                lines=self._access.who_can(Role.ADMIN),
            )
        return workload

    def _may_change(self, workload: Workload, user: User) -> bool:
        return workload.record.owner == user.id or self._access.role(user) is Role.ADMIN

    def admit(self, spec: Spec, user: User, ttl: timedelta | None) -> timedelta | None:
        """Check name and quota of a new deployment. Returns how long its lease will be: `ttl`, or the longest
        that the role allows; None: it has no lease."""
        valid_name(spec.name)
        if existing := self._cluster.find(spec.name):
            raise self._taken(existing)
        record = self._new_record(user)
        if ttl:
            self._admission.check_length(record, user, ttl)
        self._check_nodes(spec)
        self._admission.check_count(spec, record, user)
        self._admission.check_size(spec, record, user)
        return ttl or self._admission.quota(record, user).ttl

    async def deploy(
        self,
        spec: Spec,
        user: User,
        place: Place,
        card: str | None,
        options: DeployOptions,
    ) -> None:
        """Start a model, or let it wait in the queue. The message with the id `card` in `place` is its card
        from now on; None: it has none."""
        async with self._admission.lock:
            lease = self.admit(spec, user, options.ttl)
            record = self._new_record(user).changed(
                card_place=place,
                card_message_id=card or "",
                lease_ends_at=self._clock.now() + lease if lease else None,
                idle_window=options.idle_window,
                office_hours=options.office_hours,
                urgent=options.urgent,
            )
            await self._admission.create(spec, self._queued_if_needed(spec, record), user)

    def _new_record(self, user: User) -> Record:
        return Record(
            owner=user.id,
            owner_name=user.name,
            locale=user.locale,
            role=self._access.role(user),
            start_requested_at=self._clock.now(),
        )

    def _queued_if_needed(self, spec: Spec, record: Record) -> Record:
        """The record with `queued_since` set if the deployment has to wait for GPUs."""
        wait = self._gpu_queue.must_wait(spec, record)
        return record.changed(queued_since=self._clock.now() if wait else None)

    def admit_change(self, workload: Workload, spec: Spec, user: User) -> None:
        """Check that a node can take this new spec of a workload, and its owner's quota allows it."""
        self._check_nodes(spec)
        self._admission.check_size(spec, workload.record, user)

    async def change(
        self, workload: Workload, spec: Spec, user: User, place: Place, card: str | None
    ) -> None:
        """Give a workload a new spec; one that sleeps goes on to sleep. If the person owns it, the message
        with the id `card` in `place` is its card from now on; None: it has none.

        Changed when it has another spec by now than in `workload`."""

        async def resize() -> None:
            now = self.find(workload.name)
            if (now.identity, now.spec) != (workload.identity, workload.spec):
                raise Changed(t("error.changed", name=workload.name))
            self.admit_change(now, spec, user)
            record = self._restarted(now, spec, user, place, card)
            if now.gpus_held:
                await self._admission.start(now, spec, record, user)
            else:
                record = record.changed(sleep_state=now.record.sleep_state)
                await self._cluster.change(spec, record, awake=False, version=now.version)

        async with self._admission.lock:
            await until_unchanged(resize)

    def _restarted(
        self, workload: Workload, spec: Spec, user: User, place: Place, card: str | None
    ) -> Record:
        """The record of a start that this person asks for. News and log go where they went, unless it is the
        owner who asks."""
        record = workload.record.restarted(self._clock.now(), workload.last_end).changed(
            warned_at=None, warning_message_id="", keep_until=None
        )
        if user.id == record.owner:
            record = record.changed(card_place=place, card_message_id=card or "")
        if spec.model_copy(update={"replicas": workload.spec.replicas}) != workload.spec:
            record = record.changed(start_times=())  # they are of another model, or of another way to run it
        return record

    async def sleep(self, workload: Workload, user: User) -> None:
        """Put it to sleep because a person asked for it: its GPUs are free, everything else stays."""
        if workload.sleeps:
            raise UserError(
                t("sleep.already", name=workload.name),
                buttons=(Button(t("button.wake"), f"wake {workload.name}"),),
            )
        state = SleepState(
            reason=SleepReason.PERSON,
            by=user.name,
            slept_at=self._clock.now(),
            last_activity=workload.last_used,
            told=True,
        )
        await self._cluster.scale(
            workload.name, 0, queued_since=None, sleep_state=state, last_nodes=workload.nodes_to_remember
        )

    async def wake(
        self,
        name: str,
        user: User,
        place: Place,
        card: str | None,
        *,
        idle_window: timedelta | None = None,
    ) -> None:
        """Start a sleeping workload again, as it was; with another `idle_window`, if one is given. If the
        person owns it, the message with the id `card` in `place` is its card from now on."""
        workload = self.find(name)
        if not workload.sleeps:
            raise UserError(t("wake.awake", name=workload.name, phase=workload.phase.label))

        async def wake() -> None:
            workload = self.find(name)
            if not workload.sleeps:
                return  # somebody else was first
            self.admit_change(workload, workload.spec, user)
            record = self._restarted(workload, workload.spec, user, place, card)
            if idle_window:
                record = record.changed(idle_window=idle_window)
            record = self._queued_if_needed(workload.spec, record)
            await self._admission.start(workload, workload.spec, record, user)

        async with self._admission.lock:
            await until_unchanged(wake)

    async def keep(self, workload: Workload, user: User, span: timedelta | time) -> datetime:
        """Keep it awake for a duration, or until a time of day, and extend its lease if need be. Returns
        until when; UserError if it sleeps."""
        if workload.sleeps:
            raise UserError(
                t("keep.asleep", name=workload.name),
                buttons=(Button(t("button.wake"), f"wake {workload.name}"),),
            )
        length = self.span(span)
        self._admission.check_length(workload.record, user, length)
        until, ends = self._clock.now() + length, workload.record.lease_ends_at
        keep_until = max(until, workload.record.keep_until or until)
        lease_ends_at = max(ends, until) if ends else None
        await self._cluster.update_record(workload.name, keep_until=keep_until, lease_ends_at=lease_ends_at)
        return keep_until

    def span(self, until: timedelta | time) -> timedelta:
        """The duration itself, or how long it is until that time of day."""
        now = self._clock.now()
        return end_time(now, until, self._zone) - now

    async def stop(self, workload: Workload, user: User, *, sure: bool) -> None:
        """Remove it; the downloaded weights stay. UserError, which asks first, if others used it lately and
        the person is not `sure`."""
        others = workload.used_by_others(user.id, self._clock.now(), RECENT)
        if others and not sure:
            raise UserError(
                t("stop.in_use", name=workload.name, count=len(others), who=", ".join(others)),
                buttons=(Button(t("button.stop_sure"), f"stop {workload.name} --sure"),),
            )
        await self._cluster.remove(workload.name)

    def _taken(self, workload: Workload) -> UserError:
        return UserError(
            t("deploy.taken", name=workload.name, owner=workload.record.owner_name),
            lines=(t("deploy.taken_hint", name=workload.name),),
            buttons=(Button(t("button.status"), f"status {workload.name}"),),
        )

    def _check_nodes(self, spec: Spec) -> None:
        """UserError if no node could ever take the spec."""
        if short := self._cluster.lacks(spec):
            todo = t(f"waits_next.never_{short.resource}")
            raise UserError(t("deploy.no_node", name=spec.name), lines=(short.text, todo))
