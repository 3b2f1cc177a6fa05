"""Messages to owners about idle models. The message of a warning changes into what came of it."""

from datetime import datetime

from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import Text, t
from bot.core.deployment.cards import buttons
from bot.core.deployment.record import SleepReason, SleepState
from bot.core.deployment.start_text import how
from bot.core.deployment.workload import Workload
from bot.core.failures.remedies import cause_name, remedy
from bot.core.idle.verdict import BUSY, IdlePolicy, IdleVerdict

EVENING = "22:00"
"""Until when a button of a warning keeps a model, in the zone of the bot."""


def warning(workload: Workload, verdict: IdleVerdict, at: datetime, now: datetime) -> Reply:
    """That it has been idle and will sleep at the time `at`, unless somebody keeps it."""
    params = {"name": workload.name, "span": now - verdict.since, "since": verdict.since, "at": at}
    return Reply(t("idle.warning", **params), Tone.LOADING, buttons=_choices(workload))


def ending(workload: Workload, at: datetime) -> Reply:
    """That its lease will be over at the time `at`."""
    return Reply(t("idle.ending", name=workload.name, at=at), Tone.LOADING, buttons=_choices(workload))


def withdrawn(workload: Workload) -> Reply:
    """That it stays awake: somebody keeps it, or uses it again."""
    until, name = workload.record.keep_until, workload.name
    text = t("idle.kept", name=name, until=until) if until else t("idle.used", name=name)
    return Reply(text, Tone.READY)


def slept(workload: Workload, now: datetime) -> Reply:
    """That it sleeps: why, how many GPUs are free again, and how to wake it."""
    state = workload.record.sleep_state
    stored = state.reason if state else SleepReason.UNKNOWN
    reason = stored if stored in (SleepReason.LEASE, SleepReason.FAILED) else SleepReason.IDLE
    if workload.record.office_hours and reason is SleepReason.IDLE:
        return Reply(
            t("idle.hours_over", name=workload.name), Tone.ASLEEP, buttons=buttons("wake", workload=workload)
        )
    last = (state and state.last_activity) or workload.last_used
    undo = (_button("undo", workload, f"undo {workload.name}"),) if stored is SleepReason.IDLE else ()
    return Reply(
        t(f"idle.slept_{reason}", name=workload.name, count=workload.spec.gpus, since=last),
        Tone.ASLEEP,
        lines=(*why_failed(workload), _wakes(workload, now)),
        buttons=(*buttons("wake", workload=workload), *undo),
    )


def _wakes(workload: Workload, now: datetime) -> Text:
    """How to wake it; one that was given up would fail again if nothing changes."""
    record, name = workload.record, workload.name
    if record.lease_over(now):
        return t("idle.wakes_lease", name=name, owner=record.owner_name)
    given_up = record.sleep_state and record.sleep_state.cause
    return t("idle.wakes_failed" if given_up else "idle.wakes", name=name)


def why_failed(workload: Workload) -> tuple[Text, ...]:
    """Why a model that was given up had failed, how often it was tried, and what to do about it; nothing of
    another one."""
    state, end = workload.record.sleep_state, workload.last_end
    if state is None or not state.cause:
        return ()
    if end and end.number and end.cause == state.cause:
        return (t("idle.why_failed", cause=how(end), count=end.number), remedy(state.cause, end.node))
    return (t("idle.why_failed", cause=cause_name(state.cause), count=1), remedy(state.cause))


def removal(workload: Workload, at: datetime) -> Reply:
    """That it has slept for long and will be removed at the time `at`."""
    text = t("idle.removal", name=workload.name, since=workload.since, at=at)
    return Reply(text, Tone.ASLEEP, buttons=buttons("wake", "stop", workload=workload))


def removed(workload: Workload) -> Reply:
    """That it has been removed."""
    return Reply(t("idle.removed", name=workload.name, since=workload.since), Tone.ASLEEP)


def reported(workload: Workload, verdict: IdleVerdict) -> Reply:
    """For admins: that it is idle, where the bot only reports and does not put it to sleep."""
    params = {"name": workload.name, "owner": workload.record.owner_name, "since": verdict.since}
    if workload.managed_by:
        return Reply(t("idle.hands_off", by=workload.managed_by, gpus=workload.gpus_held, **params))
    return Reply(t("idle.report", gpus=workload.gpus_held, **params))


def explained(
    workload: Workload, verdict: IdleVerdict, policy: IdlePolicy, now: datetime
) -> tuple[Text, ...]:
    """The verdict with its evidence, a line each, and what will happen to it when."""
    evidence = t(
        f"why.{verdict.state}",
        since=verdict.since,
        seen=verdict.seen,
        window=verdict.window,
        hole=verdict.hole,
        running=verdict.running,
        waiting=verdict.waiting,
        count=verdict.in_flight,
    )
    busy = (t("why.gpus", share=f"{verdict.gpus:.0%}"),) if verdict.gpus > BUSY else ()
    return (evidence, *busy, *_last_question(workload), _outlook(workload, verdict, policy, now))


def why_asleep(workload: Workload, now: datetime) -> Reply:
    """Why it sleeps, with what was known when it went to sleep, and how to wake it."""
    name, state = workload.name, workload.record.sleep_state or SleepState(reason=SleepReason.UNKNOWN)
    params = {"by": state.by, "since": state.last_activity, "seen": state.seen, "window": state.window}
    unmeasured = state.reason is SleepReason.IDLE and state.seen is None
    key = "why.asleep_unused" if unmeasured else f"why.asleep_{state.reason.value}"
    reason = t(key, **params)
    undo = (_button("undo", workload, f"undo {name}"),) if state.reason is SleepReason.IDLE else ()
    return Reply(
        t("why.asleep", name=name, since=workload.since),
        Tone.ASLEEP,
        lines=(reason, *why_failed(workload), *_last_question(workload), _wakes(workload, now)),
        buttons=(*buttons("wake", workload=workload), *undo),
    )


def _last_question(workload: Workload) -> tuple[Text, ...]:
    if not workload.record.last_uses:
        return ()
    last = max(workload.record.last_uses.values(), key=lambda use: use.at)
    return (t("why.last_question", who=last.who, at=last.at),)


def _outlook(workload: Workload, verdict: IdleVerdict, policy: IdlePolicy, now: datetime) -> Text:
    record = workload.record
    if workload.managed_by:
        return t("why.hands_off", by=workload.managed_by)
    if not policy.act:
        return t("why.report")
    if record.lease_ends_at and record.lease_ends_at < verdict.due:
        return t("why.lease", at=record.lease_ends_at)
    if record.keep_until and record.keep_until > now:
        return t("why.kept", until=record.keep_until, at=verdict.due)
    return t("why.due", at=max(verdict.due, now), window=policy.window_of(workload))


def _choices(workload: Workload) -> tuple[Button, ...]:
    name = workload.name
    return (
        _button("keep_1h", workload, f"keep {name} 1h"),
        _button("keep", workload, f"keep {name} 4h"),
        _button("keep_evening", workload, f"keep {name} {EVENING}", at=EVENING),
        _button("sleep_now", workload, f"sleep {name}"),
        _button("why", workload, f"why {name}"),
    )


def _button(key: str, workload: Workload, line: str, **params: object) -> Button:
    return Button(t(f"button.{key}", **params), line, about=workload.identity)
