"""What a sweep does next about a workload. Pure: evidence goes in, one step comes out."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.core.deployment.ending import ALIKE_GIVEN_UP
from bot.core.deployment.workload import Phase, Workload
from bot.core.idle.office_hours import OfficeHours
from bot.core.idle.verdict import IdlePolicy, IdleState, IdleVerdict

GRACE = timedelta(minutes=5)
"""An answer that is being given when a lease ends may go on for so long."""
REMOVAL_NOTICE = timedelta(days=1)
"""How long before a removal it is announced."""
LONGEST_START = 4
"""A start may take so many times `IdlePolicy.failed_after` before it is given up."""
STARTING = (Phase.PREPARING, Phase.PULLING, Phase.DOWNLOADING, Phase.LOADING)


class Step(StrEnum):
    """All that a sweep can do about a workload."""

    NOTHING = "nothing"
    """Nothing is due."""

    REPORT = "report"
    """Tell admins that it is idle: something else decides about its replicas, or the bot only reports."""
    FORGET_REPORT = "forget-report"
    """It is used again: the next time that it is idle it is reported again."""

    END_LEASE = "end-lease"
    """Its lease is over: put it to sleep."""
    GIVE_UP = "give-up"
    """It has failed for long, or its start never ends: put it to sleep."""
    PROBE = "probe"
    """Its servers count requests that get no tokens: ask for one token, so that their metrics are updated."""
    WARN = "warn"
    """It is idle: say when it will sleep."""
    WARN_LEASE = "warn-lease"
    """Say when its lease ends."""
    WITHDRAW_WARNING = "withdraw-warning"
    """It is used again, or somebody wants it kept."""
    SLEEP = "sleep"
    """The warning is over: put it to sleep, if a last sample shows that it is still idle."""
    SLEEP_AFTER_HOURS = "sleep-after-hours"
    """It is idle outside of its office hours: put it to sleep as SLEEP does, but without a warning."""

    NOTE_ASLEEP = "note-asleep"
    """It is not known when it was put to sleep, or it has run since: record that it sleeps since now."""
    TELL_ASLEEP = "tell-asleep"
    """It sleeps, and its owner does not know yet."""
    OPEN = "open"
    """Its office opens: wake it."""
    HOLD_BACK = "hold-back"
    """Its office opens, but it may not start: tell its owner why."""
    NOTE_OFFICE_CLOSED = "note-office-closed"
    """A person put it to sleep during its office hours, or it failed in them, and these are over: note that
    it is to wake at the next ones."""
    ANNOUNCE_REMOVAL = "announce-removal"
    """It has slept for long: say that it will be removed."""
    REMOVE = "remove"
    """Nobody has woken it since its removal was announced: remove it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a decision about a workload needs besides the workload itself."""

    verdict: IdleVerdict
    """Whether it is idle now."""
    soon: IdleVerdict
    """Whether it would be idle now if its window were shorter, by the time that its owner is warned before,
    or by `sooner` if that is more."""
    busy: bool = False
    """It is answering a request."""
    sooner: timedelta = timedelta(0)
    """By how much its window is shorter, because somebody waits for its GPUs."""
    wanted_by: str = ""
    """The name of the person who waits for its GPUs; empty: nobody does."""
    held_back: str = ""
    """Why it may not start by itself, as `Record.held_back`; empty: it may."""


def next_step(workload: Workload, evidence: Evidence, policy: IdlePolicy, now: datetime) -> Step:
    """The one step that is due for a workload at a moment."""
    office_open = is_office_open(workload, policy, now)
    if workload.phase is Phase.DRAINING:
        return Step.NOTHING  # its pods are ending already
    if workload.phase is Phase.ASLEEP:
        return _asleep(workload, evidence.held_back, policy, now, office_open=office_open)
    if workload.managed_by or not policy.act:
        return _only_report(workload, evidence)
    ends = workload.record.lease_ends_at
    if ends and now >= ends:
        return Step.NOTHING if evidence.busy and now - ends < GRACE else Step.END_LEASE
    if _is_hopeless(workload, policy, now):
        return Step.GIVE_UP
    if workload.phase is Phase.READY and not office_open:
        return _ready(workload, evidence, policy, now)
    return Step.NOTHING


def is_office_open(workload: Workload, policy: IdlePolicy, now: datetime) -> bool:
    """It has office hours, and they are now."""
    hours = workload.record.office_hours
    return bool(hours) and OfficeHours(hours).inside(now, policy.zone)


def _only_report(workload: Workload, evidence: Evidence) -> Step:
    reported, state = workload.record.warned_at is not None, evidence.verdict.state
    if state is IdleState.IDLE and not reported:
        return Step.REPORT
    return Step.FORGET_REPORT if state is IdleState.ACTIVE and reported else Step.NOTHING


def _is_hopeless(workload: Workload, policy: IdlePolicy, now: datetime) -> bool:
    if workload.phase in STARTING:
        return now - workload.tried_since >= LONGEST_START * policy.failed_after
    failed_since = max(workload.since, workload.record.start_requested_at)
    lasts = now - failed_since >= policy.failed_after
    return workload.phase is Phase.FAILED and (lasts or _ends_alike(workload) >= ALIKE_GIVEN_UP)


def _ends_alike(workload: Workload) -> float:
    """How many tries in a row of each replica have ended alike."""
    return workload.last_end.alike / workload.replicas if workload.last_end and workload.ends else 0


def _ready(workload: Workload, evidence: Evidence, policy: IdlePolicy, now: datetime) -> Step:
    """Warn, wait, and let it sleep; or take the warning back."""
    record, soon = workload.record, evidence.soon.state
    notice = policy.warned_before(workload)
    lease_ends = record.lease_ends_at is not None and now >= record.lease_ends_at - notice
    if soon is IdleState.SUSPECT:
        return Step.PROBE
    if record.office_hours and soon is IdleState.IDLE:
        return Step.SLEEP_AFTER_HOURS
    if record.warned_at is None:
        if lease_ends:
            return Step.WARN_LEASE
        return Step.WARN if soon is IdleState.IDLE else Step.NOTHING
    if soon is IdleState.ACTIVE and not lease_ends:
        return Step.WITHDRAW_WARNING
    return Step.SLEEP if now >= record.warned_at + notice else Step.NOTHING


def _asleep(
    workload: Workload, held_back: str, policy: IdlePolicy, now: datetime, *, office_open: bool
) -> Step:
    record, state = workload.record, workload.record.sleep_state
    if state and (state.slept_at is None or state.slept_at < workload.since):
        return Step.NOTE_ASLEEP
    if state and state.removal_announced_at and state.removal_announced_at >= workload.since:
        return Step.REMOVE if now >= state.removal_announced_at + REMOVAL_NOTICE else Step.NOTHING
    if office_open and state and state.opens and not held_back:
        return Step.OPEN
    if office_open and state and state.opens and held_back != record.held_back:
        return Step.HOLD_BACK
    if record.warned_at or state is None or not state.told:
        return Step.TELL_ASLEEP
    if record.office_hours and not office_open and not state.opens:
        return Step.NOTE_OFFICE_CLOSED
    if now - workload.since >= policy.stop_after - REMOVAL_NOTICE:
        return Step.ANNOUNCE_REMOVAL
    return Step.NOTHING
