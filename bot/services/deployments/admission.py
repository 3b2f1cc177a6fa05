"""Whether something may take GPUs: one lock and one check for everything that does, whoever asks for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from bot.core.access.roles import Access, Quota, Role
from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import Text, t
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Spec, Workload
from bot.core.ports import Clock, Workloads

log = structlog.get_logger()


class Admission:
    """Quotas and leases are those of the owner, whoever asks. `by` is the person who does; None: nobody, its
    turn has come, or its office opens. Methods raise UserError if a rule forbids it.

    The owner's role is looked up when the owner asks. Else it is the one that the owner had when the owner
    last started or changed the workload: chats tell the groups of a person only with what the person says."""

    def __init__(self, cluster: Workloads, access: Access, clock: Clock) -> None:
        self._cluster, self._access, self._clock = cluster, access, clock
        self.lock = asyncio.Lock()
        """Held from the decision on a start until it is written, so that two at once cannot both use the last
        of a quota, or the last free GPUs."""

    def role(self, record: Record, by: User | None) -> Role:
        """The role of the owner."""
        return self._access.role(by) if by and by.id == record.owner else record.role

    def quota(self, record: Record, by: User | None) -> Quota:
        """The quota of the owner."""
        return self._access.quota_of(self.role(record, by))

    def check_length(self, record: Record, by: User, length: timedelta) -> None:
        """A lease may be so long."""
        longest = self.quota(record, by).ttl
        if longest and length > longest:
            raise self._over("quota.ttl", record, by, asked=length, limit=longest)

    def check_count(self, spec: Spec, record: Record, by: User) -> None:
        """There may be one more deployment."""
        held, most = len(self._others(spec, record)), self.quota(record, by).deployments
        if most is not None and held >= most:
            raise self._over("quota.deployments", record, by, held=held, limit=most)

    def check_size(self, spec: Spec, record: Record, by: User | None) -> None:
        """The workload may run with this spec beside the others of its owner."""
        quota, tp = self.quota(record, by), spec.tensor_parallel_size
        if quota.tensor_parallel_size is not None and tp > quota.tensor_parallel_size:
            raise self._over("quota.tp", record, by, asked=tp, limit=quota.tensor_parallel_size)
        held = sum(workload.gpus_held for workload in self._others(spec, record))
        total, most = held + spec.gpus, quota.gpus
        if most is None or total <= most:
            return
        if not held:
            raise self._over("quota.gpus", record, by, total=total, limit=most)
        asked, who = spec.gpus, record.owner_name
        key = "quota.gpus_beside" if by is None or by.id == record.owner else "quota.gpus_of"
        raise self._over(key, record, by, asked=asked, held=held, total=total, limit=most, owner=who)

    def lease(self, name: str, record: Record, by: User | None) -> datetime | None:
        """When its lease will end if it starts now: one that goes on stays as it is, and a new one is as long
        as the quota allows; None: it needs none. One that has ended is renewed by its owner or an admin
        only."""
        now, longest = self._clock.now(), self.quota(record, by).ttl
        over = record.lease_over(now)
        if over and not (by and self._may_renew(record, by)):
            wake = Button(t("button.wake"), f"wake {name}")
            raise UserError(t("lease.over", name=name, owner=record.owner_name), buttons=(wake,))
        if record.lease_ends_at and not over:
            return record.lease_ends_at
        return now + longest if longest else None

    async def create(self, spec: Spec, record: Record, by: User) -> None:
        """Create it, so that it runs or waits. The caller holds `lock`."""
        self.check_count(spec, record, by)
        self.check_size(spec, record, by)
        await self._cluster.create(spec, record)

        async def undo() -> None:
            await self._cluster.remove(spec.name)

        await self._confirm(spec, record, by, undo, new=True)

    async def start(self, before: Workload, spec: Spec, record: Record, by: User | None) -> None:
        """Let an existing workload run, or wait, with this spec and record. Changed when it is not as it was
        `before`. The caller holds `lock`."""
        self.check_size(spec, record, by)
        lease = self.lease(spec.name, before.record, by)
        record = record.changed(role=self.role(record, by), lease_ends_at=lease)
        await self._cluster.change(spec, record, awake=record.queued_since is None, version=before.version)

        async def undo() -> None:
            await self._cluster.change(before.spec, before.record, awake=before.replicas > 0)

        await self._confirm(spec, record, by, undo)

    async def _confirm(
        self,
        spec: Spec,
        record: Record,
        by: User | None,
        undo: Callable[[], Awaitable[None]],
        *,
        new: bool = False,
    ) -> None:
        """Look again once it is written: another process of the bot may have started something of the same
        owner meanwhile. Of two that see each other both take theirs back."""
        quota = self.quota(record, by)
        if quota.gpus is None and quota.deployments is None:
            return
        try:
            await self._cluster.catch_up(spec.name)
        except UserError as error:
            log.warning("admission.not_confirmed", workload=spec.name, why=error.text.key)
            return
        try:
            self.check_size(spec, record, by)
            if new and by:
                self.check_count(spec, record, by)
        except UserError:
            log.warning("admission.taken_back", workload=spec.name, owner=record.owner)
            await undo()
            raise

    def refusal(self, workload: Workload) -> UserError | None:
        """Why it may not start by itself; None: it may."""
        try:
            self.check_size(workload.spec, workload.record, None)
            self.lease(workload.name, workload.record, None)
        except UserError as error:
            return error
        return None

    async def hold_back(self, workload: Workload) -> Reply | None:
        """Write down why it may not start by itself, and return what to tell its owner: once for each reason.
        None: it may, or its owner knows."""
        why = self.refusal(workload)
        if why is None or why.text.key == workload.record.held_back:
            return None
        await self._cluster.update_record(workload.name, workload.version, held_back=why.text.key)
        return Reply(
            t("lease.held_back", name=workload.name),
            Tone.QUEUED if workload.record.queued_since else Tone.ASLEEP,
            lines=(why.text, *why.lines),
            buttons=why.buttons,
        )

    def _others(self, spec: Spec, record: Record) -> Sequence[Workload]:
        return [other for other in self._cluster.owned_by(record.owner) if other.name != spec.name]

    def _may_renew(self, record: Record, by: User) -> bool:
        return by.id == record.owner or self._access.role(by) is Role.ADMIN

    def _over(self, key: str, record: Record, by: User | None, **params: object) -> UserError:
        role = self.role(record, by)
        return UserError(t(key, role=role.label, **params), lines=self._way_out(key, role, record))

    def _way_out(self, key: str, role: Role, record: Record) -> tuple[Text, ...]:
        if key == "quota.gpus_beside":
            return (t("quota.make_room"),)
        if key == "quota.gpus_of":
            return (t("quota.make_room_of", owner=record.owner_name),)
        who = self._access.names(Role(min(role + 1, Role.ADMIN)))
        return (t("quota.who_may", who=who) if who else t("quota.ask_admin"),)
