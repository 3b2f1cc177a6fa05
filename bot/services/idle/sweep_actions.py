"""Carries out what a sweep has decided about a model, and tells its owner."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.core.deployment.record import RecordChanges, SleepReason, SleepState
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle import idle_messages
from bot.core.idle.next_step import REMOVAL_NOTICE, Evidence, Step
from bot.core.idle.verdict import IdlePolicy
from bot.core.ports import Clock, Cluster, Messenger
from bot.services.deployments.admission import Admission
from bot.services.deployments.gpu_queue import GpuQueue
from bot.services.deployments.until_unchanged import until_unchanged
from bot.services.idle.scale_down import ScaleDown

LOG_LINES = 300
"""Lines of a failed model's log that its owner gets."""


class SweepActions:
    """One method for each step. `admins` is where admins read; None: there is no such place.

    Each method stores what it is about to tell before it posts it: if the bot ends in between, nobody is told
    twice."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        messenger: Messenger,
        scale_down: ScaleDown,
        gpu_queue: GpuQueue,
        admission: Admission,
        policy: IdlePolicy,
        clock: Clock,
        admins: Place | None,
    ) -> None:
        self._cluster, self._messenger, self._clock = cluster, messenger, clock
        self._scale_down, self._gpu_queue, self._admission = scale_down, gpu_queue, admission
        self._policy, self._admins = policy, admins
        self._methods: dict[Step, Callable[[Workload, Evidence], Awaitable[None]]] = {
            Step.REPORT: self._report,
            Step.FORGET_REPORT: self._forget_report,
            Step.END_LEASE: self._end_lease,
            Step.GIVE_UP: self._give_up,
            Step.WARN: self._warn,
            Step.WARN_LEASE: self._warn_lease,
            Step.WITHDRAW_WARNING: self._withdraw_warning,
            Step.SLEEP: self._sleep,
            Step.SLEEP_AFTER_HOURS: self._sleep_after_hours,
            Step.NOTE_ASLEEP: self._note_asleep,
            Step.TELL_ASLEEP: self._tell_asleep,
            Step.OPEN: self._open,
            Step.HOLD_BACK: self._hold_back,
            Step.NOTE_OFFICE_CLOSED: self._note_office_closed,
            Step.ANNOUNCE_REMOVAL: self._announce_removal,
            Step.REMOVE: self._remove,
        }

    async def take(self, step: Step, workload: Workload, evidence: Evidence) -> None:
        """Carry out any step but a probe. UserError when that is not possible now, Changed when the workload
        has changed since it was read: the first write of every step is for this version of it only."""
        if step is not Step.NOTHING:
            await self._methods[step](workload, evidence)

    async def probe(self, workload: Workload) -> None:
        """Carry out Step.PROBE, which takes a while. UserError when the cluster cannot be reached."""
        await self._scale_down.probe(workload)

    async def _report(self, workload: Workload, evidence: Evidence) -> None:
        await self._cluster.update_record(workload.name, workload.version, warned_at=self._clock.now())
        if self._admins is not None:
            await self._messenger.post(self._admins, idle_messages.reported(workload, evidence.verdict))

    async def _forget_report(self, workload: Workload, _: Evidence) -> None:
        await self._cluster.update_record(workload.name, workload.version, warned_at=None)

    async def _end_lease(self, workload: Workload, _: Evidence) -> None:
        await self._scale_down.at_once(workload, SleepReason.LEASE)
        await self._announce_sleep(workload)

    async def _give_up(self, workload: Workload, _: Evidence) -> None:
        """Put it to sleep; its owner gets the end of its log, if its node still has it."""
        try:
            lines = await self._cluster.logs(workload.name, LOG_LINES)
        except UserError:
            lines = ""
        await self._scale_down.at_once(workload, SleepReason.FAILED)
        await self._announce_sleep(workload, lines)

    async def _warn(self, workload: Workload, evidence: Evidence) -> None:
        now = self._clock.now()
        sleeps_at = now + self._policy.warned_before(workload)
        reply = idle_messages.warning(workload, evidence.soon, sleeps_at, now)
        if evidence.wanted_by:
            reply = replace(reply, lines=(t("idle.wanted", who=evidence.wanted_by),))
        await self._post_warning(workload, reply, now)

    async def _warn_lease(self, workload: Workload, evidence: Evidence) -> None:
        ends_at = workload.record.lease_ends_at
        assert ends_at is not None, "a lease that ends has an end"
        await self._post_warning(workload, idle_messages.ending(workload, ends_at), self._clock.now())

    async def _post_warning(self, workload: Workload, reply: Reply, now: datetime) -> None:
        name, record = workload.name, workload.record
        await self._cluster.update_record(name, workload.version, warned_at=now, warning_message_id="")
        if record.card_place is not None and self._messenger.reaches(record.card_place):
            message = await self._messenger.post(record.card_place, reply, record.locale)
            await self._cluster.update_record(name, warning_message_id=message)

    async def _withdraw_warning(self, workload: Workload, _: Evidence) -> None:
        name, version = workload.name, workload.version
        await self._cluster.update_record(name, version, warned_at=None, warning_message_id="")
        await self._tell(workload, idle_messages.withdrawn(workload))

    async def _sleep(self, workload: Workload, evidence: Evidence) -> None:
        if await self._scale_down.if_idle(workload, early=evidence.sooner):
            await self._announce_sleep(workload)

    async def _sleep_after_hours(self, workload: Workload, _: Evidence) -> None:
        if await self._scale_down.if_idle(workload, early=self._policy.warned_before(workload)):
            await self._announce_sleep(workload)

    async def _note_asleep(self, workload: Workload, _: Evidence) -> None:
        state = _state(workload).changed(slept_at=self._clock.now())
        await self._cluster.update_record(workload.name, workload.version, sleep_state=state)

    async def _tell_asleep(self, workload: Workload, _: Evidence) -> None:
        await self._announce_sleep(workload)

    async def _open(self, workload: Workload, _: Evidence) -> None:
        """Start it, or put it into the queue."""
        now = self._clock.now()
        record = workload.record.restarted(now, workload.last_end).changed(
            warned_at=None, warning_message_id=""
        )
        async with self._admission.lock:
            wait = self._gpu_queue.must_wait(workload.spec, record)
            record = record.changed(queued_since=now if wait else None)
            await self._admission.start(workload, workload.spec, record, None)

    async def _hold_back(self, workload: Workload, _: Evidence) -> None:
        place, reply = workload.record.card_place, await self._admission.hold_back(workload)
        if reply and place is not None and self._messenger.reaches(place):
            await self._messenger.post(place, reply, workload.record.locale)

    async def _note_office_closed(self, workload: Workload, _: Evidence) -> None:
        state = _state(workload).changed(office_closed=True)
        await self._cluster.update_record(workload.name, workload.version, sleep_state=state)

    async def _announce_removal(self, workload: Workload, _: Evidence) -> None:
        now, name, version = self._clock.now(), workload.name, workload.version
        leaving = _state(workload).changed(removal_announced_at=now)
        await self._cluster.update_record(name, version, sleep_state=leaving, warning_message_id="")
        await self._tell(workload, idle_messages.removal(workload, now + REMOVAL_NOTICE))

    async def _remove(self, workload: Workload, _: Evidence) -> None:
        await self._cluster.remove(workload.name, workload.version)
        await self._tell(workload, idle_messages.removed(workload))

    async def _announce_sleep(self, before: Workload, log: str = "") -> None:
        """Tell its owner that it sleeps, unless a person put it to sleep who was not warned before, or it was
        woken meanwhile."""

        async def announce() -> None:
            workload = self._cluster.find(before.name)
            if workload is None or workload.phase not in (Phase.DRAINING, Phase.ASLEEP):
                return
            record, state = workload.record, _state(workload)
            slept_at = state.slept_at or self._clock.now()
            told: RecordChanges = {"sleep_state": state.changed(slept_at=slept_at, told=True)}
            told |= {"warned_at": None, "warning_message_id": ""}
            await self._cluster.update_record(workload.name, workload.version, **told)
            if record.warned_at or state.reason.automatic:
                await self._tell(workload, replace(idle_messages.slept(workload, self._clock.now()), log=log))

        await until_unchanged(announce)

    async def _tell(self, workload: Workload, reply: Reply) -> None:
        """Tell its owner, if this process reaches them: the message of the warning changes, or a new one is
        posted if there is none."""
        record = workload.record
        if record.card_place is None or not self._messenger.reaches(record.card_place):
            return
        if record.warning_message_id:
            await self._messenger.edit(record.card_place, record.warning_message_id, reply, record.locale)
        else:
            await self._messenger.post(record.card_place, reply, record.locale)


def _state(workload: Workload) -> SleepState:
    return workload.record.sleep_state or SleepState(reason=SleepReason.UNKNOWN)
