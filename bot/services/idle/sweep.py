"""The sweep: what must happen by itself when its time has come. Leases end, and the idle go to sleep."""

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.core.deployment.record import SleepReason, SleepState
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle import idle_messages
from bot.core.idle.office_hours import OfficeHours
from bot.core.idle.verdict import IdleState, IdleVerdict
from bot.core.ports import Clock, Cluster, Messenger
from bot.services.deployments.gpu_queue import GpuQueue
from bot.services.idle.activity import Activity
from bot.services.idle.scale_down import ScaleDown
from bot.services.operations.usage_recorder import UsageRecorder

GRACE = timedelta(minutes=5)
"""An answer that flows when a lease ends may go on for so long."""
NOTICE = timedelta(days=1)
"""A removal is announced so long before."""
LOADS = 4
"""A start may take so many times as long as a failure is kept."""
LOG_LINES = 300
WHOLE = "sweep"
STARTING = (Phase.PULLING, Phase.DOWNLOADING, Phase.LOADING)

log = structlog.get_logger()


class Sweep:
    """Run every SWEEP_INTERVAL by the scheduler. `admins` is where admins read; all else that it must
    know of a model is on the cluster, so that a restart neither repeats nor forgets."""

    def __init__(
        self,
        cluster: Cluster,
        messenger: Messenger,
        activity: Activity,
        scale_down: ScaleDown,
        gpu_queue: GpuQueue,
        usage_recorder: UsageRecorder,
        clock: Clock,
        admins: Place | None = None,
    ) -> None:
        self._cluster, self._messenger = cluster, messenger
        self._activity, self._scale_down = activity, scale_down
        self._gpu_queue, self._usage_recorder, self._clock = gpu_queue, usage_recorder, clock
        self._policy, self._admins = activity.policy, admins

    async def run(self) -> None:
        """Look at every model's figures, then at what is due."""
        failed = self._activity.failed
        failed[WHOLE] += 1  # until it has ended
        await self._activity.sweep()
        await self._usage_recorder.sweep()
        await self._gpu_queue.advance()
        wanted = self._gpu_queue.asked_back()
        for workload in self._cluster.workloads():
            try:
                await self._look_at(workload, wanted)
                failed.pop(workload.name, None)
            except UserError as error:  # changed meanwhile, or a server is away: next sweep
                failed[workload.name] += 1
                log.warning("sweep", workload=workload.name, why=error.text.key)
        failed.pop(WHOLE, None)
        for gone in set(failed) - {workload.name for workload in self._cluster.workloads()}:
            del failed[gone]

    async def _look_at(self, workload: Workload, wanted: tuple[str, str]) -> None:
        now, record = self._clock.now(), workload.record
        open_now = bool(record.office_hours) and OfficeHours(record.office_hours).inside(
            now, self._policy.zone
        )
        if workload.phase is Phase.DRAINING:
            return  # its pods are ending already
        if workload.phase is Phase.ASLEEP:
            await self._asleep(workload, now, open_now)
        elif workload.managed_by or not self._policy.act:
            await self._report(workload)
        elif record.lease_ends_at and now >= record.lease_ends_at:
            await self._end(workload, now - record.lease_ends_at)
        elif self._hopeless(workload, now):
            await self._put_to_sleep(workload, SleepReason.FAILED)
        elif workload.phase is Phase.READY and not open_now:
            await self._judge(workload, now, wanted)

    def _hopeless(self, workload: Workload, now: datetime) -> bool:
        """It has failed for long, or its start never ends."""
        failed = workload.phase is Phase.FAILED and now - workload.since >= self._policy.failed_after
        tried = now - workload.record.start_requested_at
        return failed or (workload.phase in STARTING and tried >= LOADS * self._policy.failed_after)

    async def _judge(self, workload: Workload, now: datetime, wanted: tuple[str, str]) -> None:
        """Warn, wait, and let it sleep; or take the warning back."""
        policy, record = self._policy, workload.record
        before = policy.warned_before(workload)
        name, for_whom = wanted
        early = policy.window_of(workload) / 2 if name == workload.name else timedelta(0)
        soon = self._activity.verdict(workload, early=max(before, early))
        ending = record.lease_ends_at is not None and now >= record.lease_ends_at - before
        if soon.state is IdleState.SUSPECT:
            await self._scale_down.probe(workload)
        elif record.office_hours and await self._scale_down.idle(
            workload, early=before
        ):  # and it is after hours
            await self._settle(workload)
        elif record.warned_at is None:
            if ending or soon.state is IdleState.IDLE:
                await self._warn(workload, soon, now, ending=ending, for_whom=for_whom if early else "")
        elif soon.state is IdleState.ACTIVE and not ending:
            await self._cluster.update_record(workload.name, warned_at=None, warning_message_id="")
            await self._tell(workload, idle_messages.withdrawn(workload))
        elif now >= record.warned_at + before and await self._scale_down.idle(workload, early):
            await self._settle(workload)

    async def _warn(
        self, workload: Workload, verdict: IdleVerdict, now: datetime, *, ending: bool, for_whom: str
    ) -> None:
        """Remembered before it is said: whatever breaks, nobody is warned twice."""
        before = self._policy.warned_before(workload)
        await self._cluster.update_record(workload.name, warned_at=now, warning_message_id="")
        if workload.record.card_place is None:
            return
        at = workload.record.lease_ends_at if ending else None
        reply = (
            idle_messages.ending(workload, at)
            if at
            else idle_messages.warning(workload, verdict, now + before, now)
        )
        if for_whom:
            reply = replace(reply, lines=(t("idle.wanted", who=for_whom),))
        message = await self._messenger.post(workload.record.card_place, reply, workload.record.locale)
        await self._cluster.update_record(workload.name, warning_message_id=message)

    async def _end(self, workload: Workload, over: timedelta) -> None:
        """Its lease is over; what flows may end first."""
        load = self._activity.load(workload)
        busy = self._activity.in_flight[workload.name] or (load and load.running)
        if not busy or over >= GRACE:
            await self._put_to_sleep(workload, SleepReason.LEASE)

    async def _put_to_sleep(self, workload: Workload, reason: SleepReason) -> None:
        """Its last lines are kept where its owner reads."""
        lines = await self._cluster.logs(workload.name, LOG_LINES) if reason is SleepReason.FAILED else ""
        await self._scale_down.now(workload, reason)
        await self._settle(workload, lines)

    async def _asleep(self, workload: Workload, now: datetime, open_now: bool) -> None:
        """Say so, wake it when its office opens, and remove it when nobody ever comes back."""
        record, state, name = workload.record, workload.record.sleep_state, workload.name
        if state and state.removal_announced_at:
            if now >= state.removal_announced_at + NOTICE:
                await self._cluster.remove(name)
                await self._tell(workload, idle_messages.removed(workload))
        elif open_now and state and state.opens:
            await self._open(workload, now)
        elif record.warned_at or state is None or not state.told:
            await self._settle(workload)
        elif record.office_hours and not open_now and not state.opens:
            await self._cluster.update_record(name, sleep_state=state.changed(office_closed=True))
        elif now - workload.since >= self._policy.stop_after - NOTICE:
            leaving = state.changed(removal_announced_at=now)
            await self._cluster.update_record(name, sleep_state=leaving, warning_message_id="")
            await self._tell(workload, idle_messages.removal(workload, now + NOTICE))

    async def _open(self, workload: Workload, now: datetime) -> None:
        """Its office opens: it starts, or waits in line."""
        record = workload.record.changed(
            start_requested_at=now, sleep_state=None, warned_at=None, warning_message_id=""
        )
        wait = self._gpu_queue.must_wait(workload.spec, record)
        record = record.changed(queued_since=now if wait else None)
        await self._cluster.change(workload.spec, record, awake=not wait)

    async def _settle(self, before: Workload, lines: str = "") -> None:
        """It sleeps: the warning says so now, or a new message if there was none. Whom a person put to
        sleep nobody need be told."""
        workload = next((w for w in self._cluster.workloads() if w.name == before.name), before)
        record = workload.record
        state = record.sleep_state or SleepState(reason=SleepReason.UNKNOWN)
        told = state.changed(told=True)
        await self._cluster.update_record(
            workload.name, sleep_state=told, warned_at=None, warning_message_id=""
        )
        if record.warned_at or state.reason.automatic:
            await self._tell(workload, replace(idle_messages.slept(workload), log=lines))

    async def _tell(self, workload: Workload, reply: Reply) -> None:
        """In the place of the warning, where there was one."""
        record = workload.record
        if record.card_place is None:
            return
        if record.warning_message_id:
            await self._messenger.edit(record.card_place, record.warning_message_id, reply, record.locale)
        else:
            await self._messenger.post(record.card_place, reply, record.locale)

    async def _report(self, workload: Workload) -> None:
        """Say once what would happen; and forget that it was said when it is used again."""
        verdict, record = self._activity.verdict(workload), workload.record
        if verdict.state is IdleState.IDLE and record.warned_at is None:
            await self._cluster.update_record(workload.name, warned_at=self._clock.now())
            if self._admins is not None:
                await self._messenger.post(self._admins, idle_messages.reported(workload, verdict))
        elif verdict.state is IdleState.ACTIVE and record.warned_at:
            await self._cluster.update_record(workload.name, warned_at=None)
