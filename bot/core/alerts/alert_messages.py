"""The messages of alerts: what is wrong, what to do about it, and that it is over."""

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from bot.core.alerts.state import REMINDED_EVERY, Alert, AlertKind
from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import Text, t, verbatim
from bot.core.deployment.names import object_name
from bot.core.failures.remedies import cause_name, remedy

LONGEST = 2500
"""Characters of a line at most, so that no platform cuts it."""


def sentence(alert: Alert) -> Text:
    """What is wrong, in one sentence."""
    detail = cause_name(alert.detail) if alert.kind is AlertKind.FAILED else verbatim(alert.detail)
    params = {"about": alert.about, "detail": detail, "owner": alert.owner, "since": alert.since}
    return t(f"alert.{alert.kind.value}", **params)


def headline(alert: Alert) -> Text:
    """The first line: its number, what is wrong, the name of the cause, and the nodes."""
    cause = alert.detail if alert.kind is AlertKind.FAILED else ""
    marks = " · ".join(part for part in (cause, alert.where) if part)
    key = "alert.head_marked" if marks else "alert.head"
    return t(key, number=f"#{alert.number}", what=sentence(alert), marks=marks, at=alert.since)


def message(alert: Alert, buttons: Sequence[Button], now: datetime) -> Reply:
    """An open alert: evidence, what to do, and buttons: `buttons` do it, the others manage the alert."""
    lines = [t("card.evidence", line=alert.evidence)] if alert.evidence else []
    failed = alert.kind is AlertKind.FAILED
    todo = t(f"todo.{alert.kind.value}", about=alert.about, label=object_name(alert.about))
    lines.append(remedy(alert.detail, alert.where) if failed else todo)
    if alert.tries > 1:
        lines.append(t("alert.tried", count=alert.tries))
    if now - alert.since >= REMINDED_EVERY:
        lines.append(t("alert.still", span=timedelta(days=(now - alert.since).days)))
    if alert.by:
        lines.append(t("alert.acknowledged", who=alert.by))
    manage = () if alert.by else (_manage("ack", alert),)
    return Reply(
        headline(alert),
        Tone.FAILED,
        lines=tuple(lines),
        buttons=(*buttons, _manage("silence_1h", alert, "1h"), _manage("silence_1d", alert, "1d"), *manage),
    )


def resolved(alert: Alert) -> Reply:
    """An alert that is over: mended, or given up."""
    ended = alert.ended or alert.since
    params = {"number": f"#{alert.number}", "what": sentence(alert)}
    if alert.given_up:
        return Reply(t("alert.given_up", at=ended, count=max(1, alert.tries), **params), Tone.ASLEEP)
    return Reply(t("alert.resolved", at=ended, took=ended - alert.since, **params), Tone.READY)


def repeated() -> Reply:
    """An alert that is still open, and that a newer message shows."""
    return Reply(t("alert.repeated"), Tone.QUEUED)


def digest(alerts: Sequence[Alert], total: int) -> Reply:
    """A storm in one message: those of its `total` alerts that are still open, grouped by what is wrong."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for alert in alerts:
        if alert.ended is None:
            what = alert.detail if alert.kind is AlertKind.FAILED else alert.kind.value
            groups[what].append(alert.about)
    if not groups:
        return Reply(t("alert.storm_over", count=total), Tone.READY)
    left = sum(map(len, groups.values()))
    lines = []
    for what, names in sorted(groups.items(), key=lambda item: -len(item[1])):
        first, *more = textwrap.wrap(", ".join(names), LONGEST, break_on_hyphens=False)
        lines += [t("alert.group", count=len(names), what=what, names=first), *map(verbatim, more)]
    buttons = (Button(t("button.alerts"), "alerts"),)
    return Reply(t("alert.storm", count=total, left=left), Tone.FAILED, tuple(lines), buttons=buttons)


def _manage(what: str, alert: Alert, span: str = "") -> Button:
    action = "ack" if what == "ack" else "silence"
    return Button(t(f"button.{what}"), f"alerts {action} {alert.number} {span}".strip())
