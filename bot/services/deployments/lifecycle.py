"""The rules for starting, changing, putting to sleep, waking and stopping models."""

import asyncio
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
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.ports import Clock, Workloads
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
        self, cluster: Workloads, access: Access, gpu_queue: GpuQueue, clock: Clock, zone: ZoneInfo
    ) -> None:
        self._cluster = cluster
        self._access, self._gpu_queue = access, gpu_queue
        self._clock, self._zone = clock, zone
        self._creating = asyncio.Lock()

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

    def own(self, name: str, user: User) -> Workload:
        """The workload of that name; UserError unless the person owns it or is an admin."""
        workload = self.find(name)
        if workload.record.owner != user.id and self._access.role(user) < Role.ADMIN:
            raise UserError(
                t("access.not_yours", name=workload.name, owner=workload.record.owner_name),
                lines=self._access.who_can(Role.ADMIN),
            )
        return workload

    def admit(self, spec: Spec, user: User, ttl: timedelta | None) -> timedelta | None:
        """Check name and quota of a new deployment. Returns how long its lease will be: `ttl`, or the longest
        that the role allows; None: it has no lease."""
        valid_name(spec.name)
        if existing := self._cluster.find(spec.name):
            raise self._taken(existing)
        quota = self._access.quota(user)
        if ttl and quota.ttl and ttl > quota.ttl:
            raise self._over("quota.ttl", user, asked=ttl, limit=quota.ttl)
        own_workloads = self._cluster.owned_by(user.id)
        if quota.deployments is not None and len(own_workloads) >= quota.deployments:
            raise self._over("quota.deployments", user, held=len(own_workloads), limit=quota.deployments)
        self._check_size(spec, user, [w for w in own_workloads if w.name != spec.name])
        return ttl or quota.ttl

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
        async with self._creating:  # so that two at once cannot both use the last of a quota
            lease = self.admit(spec, user, options.ttl)
            now = self._clock.now()
            record = Record(
                owner=user.id,
                owner_name=user.name,
                locale=user.locale,
                role=self._access.role(user),
                card_place=place,
                card_message_id=card or "",
                start_requested_at=now,
                lease_ends_at=now + lease if lease else None,
                idle_window=options.idle_window,
                office_hours=options.office_hours,
                urgent=options.urgent,
            )
            await self._cluster.create(spec, self._queued_if_needed(spec, record))

    def _queued_if_needed(self, spec: Spec, record: Record) -> Record:
        """The record with `queued_since` set if the deployment has to wait for GPUs."""
        wait = self._gpu_queue.must_wait(spec, record)
        return record.changed(queued_since=self._clock.now() if wait else None)

    def admit_change(self, workload: Workload, spec: Spec, user: User) -> None:
        """Check that the person's quota allows this new spec of a workload."""
        own_workloads = self._cluster.owned_by(user.id)
        self._check_size(spec, user, [w for w in own_workloads if w.name != workload.name])

    async def change(
        self, workload: Workload, spec: Spec, place: Place, card: str | None, *, awake: bool
    ) -> None:
        """Give a workload a new spec. The message with the id `card` in `place` is its card from now on;
        None: it has none. Not `awake` means that it sleeps and goes on to sleep, unless it was woken
        meanwhile.

        Changed when it has another spec by now than in `workload`."""

        async def resize() -> None:
            now = self.find(workload.name)
            if (now.identity, now.spec) != (workload.identity, workload.spec):
                raise Changed(t("error.changed", name=workload.name))
            stays_awake = awake or now.phase is not Phase.ASLEEP
            await self._restart(now, spec, place, card, now.record.lease_ends_at, awake=stays_awake)

        await until_unchanged(resize)

    async def _restart(
        self,
        workload: Workload,
        spec: Spec,
        place: Place,
        card: str | None,
        lease_ends_at: datetime | None,
        *,
        awake: bool,
    ) -> None:
        record = workload.record.restarted(self._clock.now(), workload.last_end).changed(
            card_place=place,
            card_message_id=card or "",
            warned_at=None,
            warning_message_id="",
            keep_until=None,
            lease_ends_at=lease_ends_at,
        )
        if spec.model_copy(update={"replicas": workload.spec.replicas}) != workload.spec:
            record = record.changed(start_times=())  # they are of another model, or of another way to run it
        if awake and workload.phase is Phase.ASLEEP:
            record = self._queued_if_needed(spec, record)
        starts = awake and record.queued_since is None
        await self._cluster.change(spec, record, awake=starts, version=workload.version)

    async def sleep(self, workload: Workload, user: User) -> None:
        """Put it to sleep because a person asked for it: its GPUs are free, everything else stays."""
        if workload.phase is Phase.ASLEEP:
            raise UserError(t("sleep.already", name=workload.name))
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

    async def wake(self, name: str, user: User, place: Place, card: str | None) -> None:
        """Start a sleeping workload again, as it was."""
        workload = self.find(name)
        if workload.phase is not Phase.ASLEEP:
            raise UserError(t("wake.awake", name=workload.name, phase=workload.phase.label))
        await until_unchanged(lambda: self._wake(name, user, place, card))

    async def _wake(self, name: str, user: User, place: Place, card: str | None) -> None:
        workload = self.find(name)
        if workload.phase is not Phase.ASLEEP:
            return  # somebody else was first
        if workload.record.owner == user.id:
            self.admit_change(workload, workload.spec, user)
        now, ends, longest = self._clock.now(), workload.record.lease_ends_at, self._access.quota(user).ttl
        if ends is None or ends <= now:  # a new lease, as for a new deployment
            ends = now + longest if longest else None
        await self._restart(workload, workload.spec, place, card, ends, awake=True)

    async def keep(self, workload: Workload, user: User, span: timedelta | time) -> datetime:
        """Keep it awake for a duration, or until a time of day, and extend its lease if need be. Returns
        until when; UserError if it sleeps."""
        if workload.phase is Phase.ASLEEP:
            raise UserError(
                t("keep.asleep", name=workload.name),
                buttons=(Button(t("button.wake"), f"wake {workload.name}"),),
            )
        length, longest = self.span(span), self._access.quota(user).ttl
        if longest and length > longest:
            raise self._over("quota.ttl", user, asked=length, limit=longest)
        until, ends = self._clock.now() + length, workload.record.lease_ends_at
        keep_until = max(until, workload.record.keep_until or until)
        lease_ends_at = max(ends, until) if ends else None
        await self._cluster.update_record(workload.name, keep_until=keep_until, lease_ends_at=lease_ends_at)
        return keep_until

    def span(self, until: timedelta | time) -> timedelta:
        """The duration itself, or how long it is until that time of day."""
        now = self._clock.now()
        return end_time(now, until, self._zone) - now

    async def wait_longer(self, workload: Workload, window: timedelta) -> timedelta:
        """Let it be idle for twice as long as `window`, its idle window until now. Returns the new one."""
        doubled = window * 2
        await self._cluster.update_record(workload.name, idle_window=doubled)
        return doubled

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

    def _check_size(self, spec: Spec, user: User, others: list[Workload]) -> None:
        """UserError if no node could ever take the spec, or the quota does not allow it beside the person's
        other workloads."""
        if short := self._cluster.lacks(spec):
            todo = t(f"waits_next.never_{short.resource}")
            raise UserError(t("deploy.no_node", name=spec.name), lines=(short.text, todo))
        quota = self._access.quota(user)
        tp, largest = spec.tensor_parallel_size, quota.tensor_parallel_size
        if largest is not None and tp > largest:
            raise self._over("quota.tp", user, asked=tp, limit=largest)
        held = sum(workload.gpus_held for workload in others)
        total, most = held + spec.gpus, quota.gpus
        if most is not None and total > most and held:
            raise self._over("quota.gpus_beside", user, asked=spec.gpus, held=held, total=total, limit=most)
        if most is not None and total > most:
            raise self._over("quota.gpus", user, total=total, limit=most)

    def _over(self, key: str, user: User, **params: object) -> UserError:
        role = self._access.role(user)
        above = Role(min(role + 1, Role.ADMIN))
        who = self._access.who_can(above)
        return UserError(t(key, role=role.label, **params), lines=who or (t("quota.ask_admin"),))
