"""What is wrong, and what admins have been told of it. Pure: each change makes a new state."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from pydantic import Field

from bot.core.chat.reply import Button
from bot.core.frozen import Frozen
from bot.core.ports import GpuNode

REMINDED_EVERY = timedelta(days=1)
"""An alert that is open for so long, and that nobody takes care of, is posted again."""
STORM, MINUTE, STORMS = 5, timedelta(minutes=1), "storm-"
"""More messages than this in a minute are a storm, which is one message; how its key begins."""
MOST = 1000
"""Alerts that are remembered at most."""


class AlertKind(StrEnum):
    """What can be wrong. Each kind has a sentence `[alert]` and one of what to do, `[todo]`; what to do about
    `failed` is the `[remedy]` of its cause.

    The values are stored: a new kind needs a new format."""

    FAILED = "failed"
    """A model has failed."""
    SLOW = "slow"
    """A model has been starting for too long."""
    KEPT = "kept"
    """A model is idle and holds its GPUs only because somebody wants it kept."""
    WAITING = "waiting"
    """A model has been in the queue for long."""
    ENDING = "ending"
    """A pod should be gone and is not."""
    NODE = "node"
    """A node with GPUs is gone or not ready."""
    FEWER = "fewer"
    """A node has fewer GPUs than before."""
    FAULT = "fault"
    """A GPU has reported a fault."""
    FOREIGN = "foreign"
    """A pod that is not of this bot holds GPUs and does not use them."""
    VOLUME = "volume"
    """A volume is nearly full."""
    SWEEP = "sweep"
    """Work about one model, or a part of all sweeps, fails again and again."""
    PART = "part"
    """A part of the bot has not worked for a while."""
    CHAT = "chat"
    """A chat platform cannot be reached."""
    RIGHT = "right"
    """The bot may not read a resource that it needs."""
    NEWER = "newer"
    """A newer version of the bot wrote a Deployment, which this one cannot read."""
    UNREADABLE = "unreadable"
    """Something on the cluster cannot be read, such as a Deployment whose record somebody broke."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is wrong now."""

    kind: AlertKind
    """What is wrong."""
    about: str
    """The name of the model, node, pod, volume or part of the bot that it is about."""
    detail: str = ""
    """Of a failed model, its cause: the name of a sentence `[cause]`. Else a figure as people read it
    (`3/4`), or empty."""
    owner: str = ""
    """The name of the person to whom the model belongs; empty: it is not about a model."""
    where: str = ""
    """The names of the nodes where it is, separated by commas; empty: none."""
    evidence: str = ""
    """The line of a log or event that shows it; empty: there is none."""
    tries: int = 0
    """Of a failed model, how often it was tried; 0: that is not known, or it is another incident."""
    buttons: tuple[Button, ...] = ()
    """Commands that may help."""
    given_up: bool = False
    """A failed model that the bot has put to sleep: that is the end of it, though nothing is mended."""

    @property
    def fingerprint(self) -> str:
        """What identifies it: it stays the same while detail, place and evidence change."""
        return f"{self.kind.value}:{self.about}"


class Alert(Frozen):
    """An incident as admins are told of it."""

    number: int
    """What people call it: `#17`. No other alert ever gets the same."""
    kind: AlertKind
    """What is wrong."""
    about: str
    """As in the incident: the name of the model, node, pod, volume or part of the bot."""
    detail: str = ""
    """As in the incident: a cause, a figure, or empty."""
    owner: str = ""
    """As in the incident: the name of the model's owner, or empty."""
    where: str = ""
    """As in the incident: names of nodes, or empty."""
    evidence: str = ""
    """As in the incident: a line of a log or event, or empty."""
    tries: int = 0
    """As in the incident: how often a model was tried, or 0."""
    since: datetime
    """When it was first seen."""
    ended: datetime | None = None
    """When it was over; None: it is open. An alert that is over is forgotten once its message says so."""
    key: str = ""
    """The key of the post that shows it, alone or with others; empty: it has not been posted."""
    by: str = ""
    """The name of the person who takes care of it; empty: nobody does."""
    given_up: bool = False
    """It is over because the bot has put the failed model to sleep, and not because it is mended."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its incident."""
        return f"{self.kind.value}:{self.about}"

    def updated_from(self, incident: Incident, now: datetime) -> "Alert":
        """The alert with what the incident shows `now`; it is open, unless the model has been given up."""
        fields = ("detail", "owner", "where", "evidence", "tries", "given_up")
        shown = {name: getattr(incident, name) for name in fields}
        return self.model_copy(update=shown | {"ended": now if incident.given_up else None})


class AlertPost(Frozen):
    """A message about one alert, or about many in a storm. It is stored before it is posted."""

    at: datetime
    """When it was first stored."""
    id: str = ""
    """The platform's id of the message; empty: it was not posted, or the bot ended before it knew the id."""
    total: int = 1
    """How many alerts it has shown since it was posted, open or over."""
    stale: bool = True
    """It must be posted or edited, because its alerts have changed."""


class AlertState(Frozen):
    """All alerts and their messages: what must survive a restart."""

    number: int = 0
    """The highest number of an alert so far; 0: there was none."""
    alerts: dict[str, Alert] = Field(default_factory=dict)
    """The alerts that are open, or over but still shown as open, by fingerprint."""
    posts: dict[str, AlertPost] = Field(default_factory=dict)
    """The messages of these alerts, by key."""
    silenced: dict[str, datetime] = Field(default_factory=dict)
    """Until when admins do not want to hear of an incident, by fingerprint."""
    gpus: dict[str, int] = Field(default_factory=dict)
    """The GPUs that each node should have: the most that it has shown or should have by what it reports and
    the other nodes have, or as many as it had when an admin
    acknowledged that there are fewer."""
    reported: date | None = None
    """The last day, in the zone of the settings, whose morning report was posted; None: there was none."""

    def is_silenced(self, alert: Alert, now: datetime) -> bool:
        """Admins do not want to hear of it now."""
        return self.silenced.get(alert.fingerprint, now) > now

    def alerts_of_post(self, key: str) -> list[Alert]:
        """The alerts that the message with this key shows."""
        return [alert for alert in self.alerts.values() if alert.key == key]

    def with_alerts(
        self,
        alerts: Iterable[Alert],
        *,
        number: int | None = None,
        posts: dict[str, AlertPost] | None = None,
        silenced: dict[str, datetime] | None = None,
        gpus: dict[str, int] | None = None,
    ) -> "AlertState":
        """The state with these alerts added or replaced, and other fields set; None leaves a field as it
        is."""
        fields = {"number": number, "posts": posts, "silenced": silenced, "gpus": gpus}
        changes = {name: value for name, value in fields.items() if value is not None}
        all_alerts = self.alerts | {alert.fingerprint: alert for alert in alerts}
        return self.model_copy(update={"alerts": all_alerts, **changes})

    def without(self, gone: Iterable[Alert], key: str = "") -> "AlertState":
        """The state without these alerts, and without the post of this key if it shows no other alert."""
        names = {alert.fingerprint for alert in gone}
        remaining = {name: alert for name, alert in self.alerts.items() if name not in names}
        used_keys = {alert.key for alert in remaining.values()}
        posts = {k: post for k, post in self.posts.items() if k != key or k in used_keys}
        return self.model_copy(update={"alerts": remaining, "posts": posts})

    def with_stale_posts(self, keys: Set[str]) -> "AlertState":
        """The state with these posts marked as stale."""
        posts = {
            key: post.model_copy(update={"stale": True}) if key in keys else post
            for key, post in self.posts.items()
        }
        return self.model_copy(update={"posts": posts})

    def with_gpu_counts(self, nodes: Sequence[GpuNode], now: datetime) -> "AlertState":
        """The state with the GPUs that each node has now, where these are more than before; of a node that is
        new, with those that it should have. Without silences that are over."""
        usual = max((node.total for node in nodes), default=0)
        seen = {node.name: node.total for node in nodes}
        new = {node.name: _should_have(node, usual) for node in nodes if node.name not in self.gpus}
        most = new | {name: max(seen.get(name, 0), before) for name, before in self.gpus.items()}
        silenced = {name: until for name, until in self.silenced.items() if until > now}
        return self.model_copy(update={"gpus": {n: m for n, m in most.items() if m}, "silenced": silenced})

    def with_incidents(self, incidents: Iterable[Incident], now: datetime) -> "AlertState":
        """The state with what is wrong now: new alerts for new incidents, and an end for alerts whose
        incident is gone."""
        current = {incident.fingerprint: incident for incident in incidents}
        before = {
            name: alert.updated_from(current[name], now)
            if name in current
            else alert.model_copy(update={"ended": alert.ended or now})
            for name, alert in self.alerts.items()
        }
        fresh = [incident for name, incident in current.items() if name not in before][: MOST - len(before)]
        numbered = enumerate(fresh, self.number + 1)
        opened = [
            Alert(number=n, kind=i.kind, about=i.about, since=now).updated_from(i, now) for n, i in numbered
        ]
        last = self.number + len(fresh)
        return self.model_copy(update={"alerts": before}).with_alerts(opened, number=last)

    def with_new_posts(self, now: datetime) -> "AlertState":
        """The state with a new post for each alert that has none; in a storm, one post for all of them.
        Alerts that are over before they were posted are forgotten."""
        untold = [alert for alert in self.alerts.values() if not alert.key]
        state = self.without(alert for alert in untold if alert.ended)
        fresh = [alert for alert in untold if not (alert.ended or self.is_silenced(alert, now))]
        lately = [key for key, post in self.posts.items() if now - post.at < MINUTE]
        storm = next((key for key in lately if key.startswith(STORMS)), "")
        if not storm and len(fresh) + len(lately) > STORM:
            storm = f"{STORMS}{now.isoformat()}"
        if storm and fresh:
            return state._with_post(storm, fresh, now)
        for alert in fresh:
            state = state._with_post(f"alert-{alert.number}-{now.isoformat()}", [alert], now)
        return state

    def without_posts(self) -> "AlertState":
        """The state where there is no place to post in: no posts, and no alerts that are over."""
        still_open = {n: a.model_copy(update={"key": ""}) for n, a in self.alerts.items() if a.ended is None}
        return self.model_copy(update={"alerts": still_open, "posts": {}})

    def with_reminders(self, now: datetime) -> tuple["AlertState", list[str]]:
        """The state with a new post for alerts that were posted REMINDED_EVERY ago and still need somebody;
        and the keys of the old posts."""
        state, old_keys = self, []
        for key, post in self.posts.items():
            alerts = self.alerts_of_post(key)
            left = [a for a in alerts if not (a.ended or a.by or self.is_silenced(a, now))]
            if post.id and left and now - post.at >= REMINDED_EVERY:
                state = state._with_post(f"{key.partition('+')[0]}+{now.isoformat()}", left, now)
                old_keys.append(key)
        return state, old_keys

    def _with_post(self, key: str, alerts: Sequence[Alert], now: datetime) -> "AlertState":
        post = self.posts.get(key, AlertPost(at=now, total=0))
        post = post.model_copy(update={"total": post.total + len(alerts), "stale": True})
        moved = [alert.model_copy(update={"key": key}) for alert in alerts]
        return self.with_alerts(moved, posts=self.posts | {key: post})


def _should_have(node: GpuNode, usual: int) -> int:
    """How many GPUs a node should have that is seen for the first time, where others have up to `usual`.

    Servers are built with 1, 2, 4, 8 or 16, so that 3 of 4 or 7 of 8 have lost some; 2 beside 4 is another
    kind of server."""
    is_whole = node.total & (node.total - 1) == 0
    return max(node.total, node.installed, 0 if is_whole else usual)
