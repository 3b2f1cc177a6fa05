"""What an owner hears about a model that nobody uses: one message, from the warning to what became of it."""

from datetime import datetime

from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import Text, t
from bot.core.deployment.cards import buttons
from bot.core.deployment.record import SleepReason, SleepState
from bot.core.deployment.workload import Workload
from bot.core.idle.verdict import BUSY, IdlePolicy, IdleVerdict

EVENING = "22:00"


def warning(workload: Workload, verdict: IdleVerdict, at: datetime, now: datetime) -> Reply:
    """It has been idle, and sleeps at a time, unless somebody wants it kept."""
    told = {"name": workload.name, "span": now - verdict.since, "since": verdict.since, "at": at}
    return Reply(t("idle.warning", **told), Tone.LOADING, buttons=_choices(workload))


def ending(workload: Workload, at: datetime) -> Reply:
    """Its lease is nearly over."""
    return Reply(t("idle.ending", name=workload.name, at=at), Tone.LOADING, buttons=_choices(workload))


def withdrawn(workload: Workload) -> Reply:
    """It goes on."""
    kept = workload.record.keep_until
    text = t("idle.kept", name=workload.name, until=kept) if kept else t("idle.used", name=workload.name)
    return Reply(text, Tone.READY)


def slept(workload: Workload) -> Reply:
    """It sleeps: why, what is free again, and how to have it back."""
    state = workload.record.sleep_state
    why = state.reason if state else SleepReason.UNKNOWN
    reason = why if why in (SleepReason.LEASE, SleepReason.FAILED) else SleepReason.IDLE
    if workload.record.office_hours and reason is SleepReason.IDLE:
        return Reply(
            t("idle.hours_over", name=workload.name), Tone.ASLEEP, buttons=buttons("wake", workload=workload)
        )
    last = (state and state.last_activity) or workload.last_used
    undo = (_button("undo", workload, f"undo {workload.name}"),) if why is SleepReason.IDLE else ()
    return Reply(
        t(f"idle.slept_{reason}", name=workload.name, count=workload.spec.gpus, since=last),
        Tone.ASLEEP,
        lines=(t("idle.wakes", name=workload.name),),
        buttons=(*buttons("wake", workload=workload), *undo),
    )


def removal(workload: Workload, at: datetime) -> Reply:
    """Nobody has woken it for long."""
    text = t("idle.removal", name=workload.name, since=workload.since, at=at)
    return Reply(text, Tone.ASLEEP, buttons=buttons("wake", "stop", workload=workload))


def removed(workload: Workload) -> Reply:
    """It is gone."""
    return Reply(t("idle.removed", name=workload.name, since=workload.since), Tone.ASLEEP)


def reported(workload: Workload, verdict: IdleVerdict) -> Reply:
    """What would happen, where the bot may only tell."""
    told = {"name": workload.name, "owner": workload.record.owner_name, "since": verdict.since}
    if workload.managed_by:
        return Reply(t("idle.hands_off", by=workload.managed_by, gpus=workload.gpus_held, **told))
    return Reply(t("idle.report", gpus=workload.gpus_held, **told))


def explained(
    workload: Workload, verdict: IdleVerdict, policy: IdlePolicy, zone_now: datetime
) -> tuple[Text, ...]:
    """The verdict and its evidence, then what would happen when."""
    evidence = t(
        f"why.{verdict.state}",
        since=verdict.since,
        seen=verdict.seen,
        expected=verdict.expected,
        running=verdict.running,
        waiting=verdict.waiting,
        count=verdict.in_flight,
    )
    busy = (t("why.gpus", share=f"{verdict.gpus:.0%}"),) if verdict.gpus > BUSY else ()
    return (evidence, *busy, *_last_question(workload), _outlook(workload, verdict, policy, zone_now))


def why_asleep(workload: Workload) -> Reply:
    """What put it to sleep, with what was known then, and how to have it back."""
    name, state = workload.name, workload.record.sleep_state or SleepState(reason=SleepReason.UNKNOWN)
    known = {
        "by": state.by,
        "since": state.last_activity,
        "seen": state.samples_seen,
        "expected": state.samples_expected,
    }
    reason = t(f"why.asleep_{state.reason.value}", **known)
    undo = (_button("undo", workload, f"undo {name}"),) if state.reason is SleepReason.IDLE else ()
    return Reply(
        t("why.asleep", name=name, since=workload.since),
        Tone.ASLEEP,
        lines=(reason, *_last_question(workload), t("idle.wakes", name=name)),
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
