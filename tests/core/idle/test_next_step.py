"""What a sweep does next: for each step the situation that leads to it, and the nearest one that does not."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.core.deployment.ending import Ending
from bot.core.deployment.record import Record, SleepReason, SleepState
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.idle.next_step import Evidence, Step, next_step
from bot.core.idle.verdict import IdlePolicy, IdleState, IdleVerdict

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
"""A Tuesday, 13:00 in Berlin."""
POLICY = IdlePolicy()
"""A window of 30 min, warned of 10 min before; failures are kept for 30 min, sleepers for 14 days."""
ACTIVE, IDLE, UNKNOWN, SUSPECT = IdleState.ACTIVE, IdleState.IDLE, IdleState.UNKNOWN, IdleState.SUSPECT
OPEN, CLOSED = "mo-fr 8-20", "sa 8-20"
"""Office hours that are now, and some that are not."""


def ago(**delta: float) -> datetime:
    return NOW - timedelta(**delta)


def slept(reason: SleepReason = SleepReason.PERSON, *, told: bool = True, **more: Any) -> SleepState:
    return SleepState(reason=reason, told=told, **more)


def alike(number: int) -> Ending:
    """So many runs have ended in a row for the same cause."""
    return Ending(number=number, run="uid/0", at=NOW, cause="cuda_oom", alike=number)


@dataclass(frozen=True)
class Situation:
    """A model, and what is known of it; `idle` is its state now, `soon` that at the end of its window."""

    phase: Phase = Phase.READY
    since: datetime = field(default_factory=lambda: ago(hours=2))
    idle: IdleState = ACTIVE
    soon: IdleState = ACTIVE
    busy: bool = False
    managed_by: str = ""
    act: bool = True
    held_back: str = ""
    replicas: int = 1
    noted: bool = True
    """Since when it sleeps is written down."""
    record: dict[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> "Situation":
        """The same, but for this; `record` is added to."""
        record = self.record | changes.pop("record", {})
        return replace(self, **changes, record=record)

    @property
    def step(self) -> Step:
        started = self.record.get("start_requested_at", ago(hours=3))
        record = Record(owner="ada", owner_name="ada", **({"start_requested_at": started} | self.record))
        if self.noted and (state := record.sleep_state):
            record = record.changed(sleep_state=state.changed(slept_at=state.slept_at or self.since))
        spec = Spec(name="m", model="tinyllama", repo="a/b", max_model_len=2048)
        workload = Workload(
            spec=spec,
            record=record,
            phase=self.phase,
            since=self.since,
            created=ago(days=1),
            managed_by=self.managed_by,
            replicas=self.replicas,
            last_end=record.last_end,
        )
        now, soon = (IdleVerdict(state, ago(minutes=25), NOW) for state in (self.idle, self.soon))
        policy = replace(POLICY, act=self.act)
        return next_step(workload, Evidence(now, soon, busy=self.busy, held_back=self.held_back), policy, NOW)


USED = Situation()
TO_BE_IDLE = Situation(soon=IDLE)
WARNED = TO_BE_IDLE.but(idle=IDLE, record={"warned_at": ago(minutes=10)})
MANAGED = Situation(managed_by="Argo CD", idle=IDLE, soon=IDLE)
FAILED = Situation(phase=Phase.FAILED, since=ago(minutes=30))
JUST_FAILED = FAILED.but(since=ago(minutes=1))
LOADING = Situation(phase=Phase.LOADING, record={"start_requested_at": ago(minutes=120)})
AGAIN = LOADING.but(since=ago(minutes=1), record={"ready_at": ago(minutes=110)})
"""It was ready, and its pod was removed or restarted a minute ago."""
ASLEEP = Situation(phase=Phase.ASLEEP, record={"sleep_state": slept()})
MAY_NOT_OPEN = ASLEEP.but(
    held_back="lease.over", record={"office_hours": OPEN, "sleep_state": slept(office_closed=True)}
)
LONG_ASLEEP = ASLEEP.but(since=ago(days=13))
TO_BE_REMOVED = ASLEEP.but(
    since=ago(days=14), record={"sleep_state": slept(removal_announced_at=ago(days=1))}
)

LEADS = {
    "it is used": (USED, Step.NOTHING),
    "its pods are ending already": (
        USED.but(phase=Phase.DRAINING, record={"lease_ends_at": NOW}),
        Step.NOTHING,
    ),
    "somebody else's and idle": (MANAGED, Step.REPORT),
    "told already": (MANAGED.but(record={"warned_at": ago(days=1)}), Step.NOTHING),
    "not known to be idle": (MANAGED.but(idle=UNKNOWN), Step.NOTHING),
    "idle where the bot may only tell": (TO_BE_IDLE.but(idle=IDLE, act=False), Step.REPORT),
    "somebody else's is used again": (
        MANAGED.but(idle=ACTIVE, record={"warned_at": ago(days=1)}),
        Step.FORGET_REPORT,
    ),
    "perhaps used again": (MANAGED.but(idle=UNKNOWN, record={"warned_at": ago(days=1)}), Step.NOTHING),
    "somebody else's has failed": (FAILED.but(managed_by="Argo CD"), Step.NOTHING),
    "its lease is over": (USED.but(record={"lease_ends_at": NOW}), Step.END_LEASE),
    "an answer flows": (USED.but(busy=True, record={"lease_ends_at": ago(minutes=4)}), Step.NOTHING),
    "an answer flows for too long": (
        USED.but(busy=True, record={"lease_ends_at": ago(minutes=5)}),
        Step.END_LEASE,
    ),
    "a lease is over while it loads": (LOADING.but(record={"lease_ends_at": NOW}), Step.END_LEASE),
    "it has failed": (FAILED, Step.GIVE_UP),
    "it has just failed": (FAILED.but(since=ago(minutes=29)), Step.NOTHING),
    "it was started again and still fails": (
        FAILED.but(record={"start_requested_at": ago(minutes=29)}),
        Step.NOTHING,
    ),
    "it has failed alike five times": (JUST_FAILED.but(record={"last_end": alike(5)}), Step.GIVE_UP),
    "it has not yet": (JUST_FAILED.but(record={"last_end": alike(4)}), Step.NOTHING),
    "each replica has": (JUST_FAILED.but(replicas=3, record={"last_end": alike(15)}), Step.GIVE_UP),
    "not each replica has": (JUST_FAILED.but(replicas=3, record={"last_end": alike(14)}), Step.NOTHING),
    "its start never ends": (LOADING, Step.GIVE_UP),
    "nor does this one": (LOADING.but(phase=Phase.PULLING), Step.GIVE_UP),
    "it was ready for long and starts again": (AGAIN, Step.NOTHING),
    "it starts again and never ends": (AGAIN.but(since=ago(minutes=120)), Step.GIVE_UP),
    "its start takes long": (
        LOADING.but(record={"start_requested_at": ago(minutes=119)}),
        Step.NOTHING,
    ),
    "it waits for GPUs": (LOADING.but(phase=Phase.QUEUED), Step.NOTHING),
    "its figures have stuck": (TO_BE_IDLE.but(soon=SUSPECT), Step.PROBE),
    "they have, and it is warned": (WARNED.but(soon=SUSPECT), Step.PROBE),
    "it is about to be idle": (TO_BE_IDLE, Step.WARN),
    "nobody knows": (TO_BE_IDLE.but(soon=UNKNOWN), Step.NOTHING),
    "it is not ready": (TO_BE_IDLE.but(phase=Phase.FAILED, since=NOW), Step.NOTHING),
    "its office is open": (TO_BE_IDLE.but(record={"office_hours": OPEN}), Step.NOTHING),
    "its office is closed": (TO_BE_IDLE.but(record={"office_hours": CLOSED}), Step.SLEEP_AFTER_HOURS),
    "used after hours": (USED.but(record={"office_hours": CLOSED}), Step.NOTHING),
    "its lease is about to end": (
        USED.but(record={"lease_ends_at": NOW + timedelta(minutes=10)}),
        Step.WARN_LEASE,
    ),
    "its lease goes on": (USED.but(record={"lease_ends_at": NOW + timedelta(minutes=11)}), Step.NOTHING),
    "it was warned, and is used": (WARNED.but(soon=ACTIVE), Step.WITHDRAW_WARNING),
    "used, but the warning is of its lease": (
        WARNED.but(
            soon=ACTIVE,
            record={"warned_at": ago(minutes=1), "lease_ends_at": NOW + timedelta(minutes=9)},
        ),
        Step.NOTHING,
    ),
    "its time has come": (WARNED, Step.SLEEP),
    "it has been warned for a while": (WARNED.but(record={"warned_at": ago(minutes=9)}), Step.NOTHING),
    "half of a short window": (
        WARNED.but(record={"warned_at": ago(minutes=4), "idle_window": timedelta(minutes=8)}),
        Step.SLEEP,
    ),
    "it sleeps, and its owner knows": (ASLEEP, Step.NOTHING),
    "its owner does not know": (
        ASLEEP.but(record={"sleep_state": slept(SleepReason.IDLE, told=False)}),
        Step.TELL_ASLEEP,
    ),
    "nobody knows why": (
        ASLEEP.but(record={"sleep_state": None, "office_hours": OPEN}),
        Step.TELL_ASLEEP,
    ),
    "the warning stands there yet": (ASLEEP.but(record={"warned_at": ago(hours=1)}), Step.TELL_ASLEEP),
    "its office opens": (
        ASLEEP.but(record={"sleep_state": slept(SleepReason.OFFICE_HOURS), "office_hours": OPEN}),
        Step.OPEN,
    ),
    "its office is closed while it sleeps": (
        ASLEEP.but(record={"sleep_state": slept(SleepReason.OFFICE_HOURS), "office_hours": CLOSED}),
        Step.NOTHING,
    ),
    "it failed today": (
        ASLEEP.but(record={"sleep_state": slept(SleepReason.FAILED), "office_hours": OPEN}),
        Step.NOTHING,
    ),
    "a person put it to sleep today": (ASLEEP.but(record={"office_hours": OPEN}), Step.NOTHING),
    "and that day is over": (ASLEEP.but(record={"office_hours": CLOSED}), Step.NOTE_OFFICE_CLOSED),
    "which was noted": (
        ASLEEP.but(record={"office_hours": CLOSED, "sleep_state": slept(office_closed=True)}),
        Step.NOTHING,
    ),
    "and it opens again": (
        ASLEEP.but(record={"office_hours": OPEN, "sleep_state": slept(office_closed=True)}),
        Step.OPEN,
    ),
    "but it may not start": (MAY_NOT_OPEN, Step.HOLD_BACK),
    "which its owner knows": (MAY_NOT_OPEN.but(record={"held_back": "lease.over"}), Step.NOTHING),
    "but not why it is now": (MAY_NOT_OPEN.but(record={"held_back": "quota.gpus"}), Step.HOLD_BACK),
    "and now it may": (MAY_NOT_OPEN.but(held_back="", record={"held_back": "lease.over"}), Step.OPEN),
    "its lease ended while its office is open": (
        ASLEEP.but(record={"office_hours": OPEN, "sleep_state": slept(SleepReason.LEASE)}),
        Step.NOTHING,
    ),
    "it has slept for long": (LONG_ASLEEP, Step.ANNOUNCE_REMOVAL),
    "for nearly so long": (LONG_ASLEEP.but(since=ago(days=12, hours=23)), Step.NOTHING),
    "somebody else's sleeps for long": (LONG_ASLEEP.but(managed_by="Argo CD"), Step.ANNOUNCE_REMOVAL),
    "nobody woke it": (TO_BE_REMOVED, Step.REMOVE),
    "it was announced today": (
        TO_BE_REMOVED.but(record={"sleep_state": slept(removal_announced_at=ago(hours=23))}),
        Step.NOTHING,
    ),
    "nobody knows since when it sleeps": (LONG_ASLEEP.but(noted=False), Step.NOTE_ASLEEP),
    "nor whether it was announced in time": (TO_BE_REMOVED.but(noted=False), Step.NOTE_ASLEEP),
    "it has run since it was put to sleep": (
        LONG_ASLEEP.but(record={"sleep_state": slept(slept_at=ago(days=30))}),
        Step.NOTE_ASLEEP,
    ),
    "it has run since that was announced": (TO_BE_REMOVED.but(since=ago(hours=2)), Step.NOTHING),
}


@pytest.mark.parametrize("name", LEADS)
def test_each_situation_leads_to_its_step(name: str) -> None:
    situation, step = LEADS[name]
    assert situation.step is step


def test_there_is_a_situation_for_every_step() -> None:
    assert {step for _, step in LEADS.values()} == set(Step)
