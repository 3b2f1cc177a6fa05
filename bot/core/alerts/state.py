"""What is wrong, and what of it admins were told: pure, so that every step of it can be written down."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from pydantic import Field

from bot.core.chat.reply import Button
from bot.core.frozen import Frozen

REMINDED_EVERY = timedelta(days=1)
STORM, MINUTE, STORMS = 5, timedelta(minutes=1), "storm-"
"""More than so many messages in a minute are a storm; its key begins like that."""
MOST = 1000
"""Alerts that are remembered at once."""


class AlertKind(StrEnum):
    """What can be wrong; each has a sentence `[alert]` and, but for `failed`, one of what to do `[todo]`.

    It is stored: another one is a new format of what is stored."""

    FAILED = "failed"
    SLOW = "slow"
    KEPT = "kept"
    WAITING = "waiting"
    ENDING = "ending"
    NODE = "node"
    FEWER = "fewer"
    FAULT = "fault"
    FOREIGN = "foreign"
    VOLUME = "volume"
    SWEEP = "sweep"
    PART = "part"
    CHAT = "chat"
    RIGHT = "right"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is wrong now."""

    kind: AlertKind
    about: str
    """The name of the model, node, pod, volume or part of the bot that it is about."""
    detail: str = ""
    """Of a failed model its cause, a name of `[cause]`; else a figure, as it is to be read; or nothing."""
    owner: str = ""
    """The name of the person to whom the model belongs; empty: it is about no model."""
    where: str = ""
    """The nodes that it is on, separated by commas; empty if none."""
    evidence: str = ""
    """The line of a log or event that shows it; empty if there is none."""
    buttons: tuple[Button, ...] = ()
    """What can be done about it at once."""

    @property
    def fingerprint(self) -> str:
        """The same incident has the same, however it changes."""
        return f"{self.kind.value}:{self.about}"


class Alert(Frozen):
    """An incident as it is told to admins; what is not explained here is as in `Incident`."""

    number: int
    """What people call it: `#17`. It is given once."""
    kind: AlertKind
    about: str
    detail: str = ""
    owner: str = ""
    where: str = ""
    evidence: str = ""
    since: datetime
    """When it was first seen."""
    ended: datetime | None = None
    """When it was over; None: it is not. It is dropped once its message says so."""
    key: str = ""
    """The key of its post, alone or with others; empty: it has not been told."""
    by: str = ""
    """The name of the person who takes care of it; empty: nobody said so."""

    @property
    def fingerprint(self) -> str:
        """That of its incident."""
        return f"{self.kind.value}:{self.about}"

    def taken(self, incident: Incident) -> "Alert":
        """As the incident is now."""
        fields = ("detail", "owner", "where", "evidence")
        return self.model_copy(update={name: getattr(incident, name) for name in fields} | {"ended": None})


class AlertPost(Frozen):
    """A message of one alert, or of many in a storm. It is written down before it is posted."""

    at: datetime
    """When it was written down."""
    id: str = ""
    """The message on the platform; empty: it was not posted, or the bot ended before it knew."""
    total: int = 1
    """How many alerts it has told of, over or not."""
    stale: bool = True
    """It does not say yet how things are."""


class AlertState(Frozen):
    """All that must outlive the bot. Each change makes a new one."""

    number: int = 0
    """The last number that was given to an alert."""
    alerts: dict[str, Alert] = Field(default_factory=dict)
    """What is open, or over and not told yet, by fingerprint."""
    posts: dict[str, AlertPost] = Field(default_factory=dict)
    """Messages that have an alert, by key."""
    silenced: dict[str, datetime] = Field(default_factory=dict)
    """Until when nobody wants to hear of an incident, by fingerprint."""
    gpus: dict[str, int] = Field(default_factory=dict)
    """The most GPUs that each node has shown, or as many as an admin has said are right."""
    reported: date | None = None
    """The last day, where the cluster is, whose morning's report was sent."""

    def silent(self, alert: Alert, now: datetime) -> bool:
        """Nobody wants to hear of it now."""
        return self.silenced.get(alert.fingerprint, now) > now

    def of(self, key: str) -> list[Alert]:
        """The alerts of a message."""
        return [alert for alert in self.alerts.values() if alert.key == key]

    def put(
        self,
        alerts: Iterable[Alert],
        *,
        number: int | None = None,
        posts: dict[str, AlertPost] | None = None,
        silenced: dict[str, datetime] | None = None,
        gpus: dict[str, int] | None = None,
    ) -> "AlertState":
        """With these alerts as they are now, and the other fields as given; None leaves one as it is."""
        given = {"number": number, "posts": posts, "silenced": silenced, "gpus": gpus}
        changes = {name: value for name, value in given.items() if value is not None}
        changed = self.alerts | {alert.fingerprint: alert for alert in alerts}
        return self.model_copy(update={"alerts": changed, **changes})

    def drop(self, gone: Iterable[Alert], key: str = "") -> "AlertState":
        """Without these alerts, and without the post of a key that has none left."""
        names = {alert.fingerprint for alert in gone}
        left = {name: alert for name, alert in self.alerts.items() if name not in names}
        used = {alert.key for alert in left.values()}
        posts = {k: post for k, post in self.posts.items() if k != key or k in used}
        return self.model_copy(update={"alerts": left, "posts": posts})

    def touched(self, keys: Set[str]) -> "AlertState":
        """With these posts stale."""
        posts = {
            key: post.model_copy(update={"stale": True}) if key in keys else post
            for key, post in self.posts.items()
        }
        return self.model_copy(update={"posts": posts})

    def counted(self, nodes: Mapping[str, int], now: datetime) -> "AlertState":
        """With the most GPUs that nodes have ever shown, and no silence that is over."""
        most = {n: max(nodes.get(n, 0), self.gpus.get(n, 0)) for n in {*nodes, *self.gpus}}
        silenced = {name: until for name, until in self.silenced.items() if until > now}
        return self.model_copy(update={"gpus": {n: m for n, m in most.items() if m}, "silenced": silenced})

    def compared(self, incidents: Iterable[Incident], now: datetime) -> "AlertState":
        """With what is wrong now; what is wrong no more has ended."""
        found = {incident.fingerprint: incident for incident in incidents}
        known = {
            name: alert.taken(found[name])
            if name in found
            else alert.model_copy(update={"ended": alert.ended or now})
            for name, alert in self.alerts.items()
        }
        fresh = [incident for name, incident in found.items() if name not in known][: MOST - len(known)]
        numbered = enumerate(fresh, self.number + 1)
        opened = [Alert(number=n, kind=i.kind, about=i.about, since=now).taken(i) for n, i in numbered]
        last = self.number + len(fresh)
        return self.model_copy(update={"alerts": known}).put(opened, number=last)

    def addressed(self, now: datetime) -> "AlertState":
        """With a message for each new alert; in a storm a common one. What was over before it was told is
        not told at all."""
        untold = [a for a in self.alerts.values() if not a.key and not self.silent(a, now)]
        state = self.drop(alert for alert in untold if alert.ended)
        fresh = [alert for alert in untold if alert.ended is None]
        lately = [key for key, post in self.posts.items() if now - post.at < MINUTE]
        storm = next((key for key in lately if key.startswith(STORMS)), "")
        if not storm and len(fresh) + len(lately) > STORM:
            storm = f"{STORMS}{now.isoformat()}"
        if storm and fresh:
            return state._into(storm, fresh, now)
        for alert in fresh:
            state = state._into(f"alert-{alert.number}-{now.isoformat()}", [alert], now)
        return state

    def reminded(self, now: datetime) -> tuple["AlertState", list[str]]:
        """With a new message for what has been open for a day; the keys of the old ones."""
        state, old = self, []
        for key, post in self.posts.items():
            left = [a for a in self.of(key) if not (a.ended or a.by or self.silent(a, now))]
            if post.id and left and now - post.at >= REMINDED_EVERY:
                state = state._into(f"{key.partition('+')[0]}+{now.isoformat()}", left, now)
                old.append(key)
        return state, old

    def _into(self, key: str, alerts: Sequence[Alert], now: datetime) -> "AlertState":
        post = self.posts.get(key, AlertPost(at=now, total=0))
        post = post.model_copy(update={"total": post.total + len(alerts), "stale": True})
        moved = [alert.model_copy(update={"key": key}) for alert in alerts]
        return self.put(moved, posts=self.posts | {key: post})
