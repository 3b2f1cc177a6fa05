"""The order of the queue for GPUs. Pure: who comes first, and when the others will probably start."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.core.access.roles import Role

ROLE_HEAD_START = timedelta(hours=4)
"""A person of the next higher role comes first, unless the other has waited for so much longer."""
USE_HEAD_START = timedelta(hours=4)
"""Who used nothing comes before one who used without end, unless that one has waited for so much longer."""
HALF_USED = 24 * 3600.0
"""Who used so many GPU-seconds has lost half of that."""
URGENT_HEAD_START = timedelta(hours=12)
"""What an admin called urgent comes first, unless the other has waited for so much longer."""
LONGEST_HEAD_START = 2 * ROLE_HEAD_START + USE_HEAD_START + URGENT_HEAD_START
"""After so long nobody who is new comes before one who waits, whatever role, use and urgency they have."""
ABOUT = timedelta(minutes=5)
"""When somebody will start is told in steps of this: it is no news if that changes by less."""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A deployment that waits for GPUs."""

    name: str
    """What people call it."""
    tp: int
    """GPUs that each replica needs, on one node."""
    since: datetime
    """When it began to wait."""
    replicas: int = 1
    """How many replicas start together."""
    role: Role = Role.STUDENT
    """The role of its owner."""
    used: float = 0
    """GPU-seconds of its owner: used in the last days, and for GPUs that are held now. Owners who used less
    come first."""
    urgent: bool = False
    """An admin called it urgent."""

    @property
    def counts_since(self) -> datetime:
        """It stands in the queue as if it had waited since then: `since`, less its head start."""
        use = USE_HEAD_START * (HALF_USED / (HALF_USED + max(0.0, self.used)))
        urgent = URGENT_HEAD_START if self.urgent else timedelta(0)
        return self.since - urgent - use - ROLE_HEAD_START * int(self.role)


@dataclass(frozen=True, slots=True)
class Release:
    """GPUs that will probably be free later: a lease ends, or an idle model goes to sleep."""

    at: datetime
    """When they will be free, as far as is known now."""
    node: str
    """The name of their node."""
    gpus: int
    """How many."""


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """Where a deployment stands in the queue."""

    place: int
    """Its place; the first is 1."""
    total: int
    """How many deployments wait."""
    at: datetime | None
    """About when it will start; None: nothing that is known would give it enough GPUs."""


def in_order(waiting: Iterable[QueueEntry]) -> list[QueueEntry]:
    """Those that have waited longest come first. Urgency, a higher role and little use count as hours of
    waiting: they never beat a wait that is longer by LONGEST_HEAD_START."""
    return sorted(waiting, key=lambda entry: (entry.counts_since, entry.since, entry.name))


def forecast(
    free: Mapping[str, int], releases: Iterable[Release], waiting: Sequence[QueueEntry], now: datetime
) -> dict[str, datetime]:
    """When each entry will probably start, by name, if they start one after the other: `now`, or later. An
    entry is missing if nothing that is known will give it enough GPUs."""
    left, starts = dict(free), dict[str, datetime]()
    to_come = sorted((r for r in releases if r.at > now), key=lambda release: release.at)
    for entry in waiting:
        at = now
        for _ in range(entry.replicas):
            known = [(_enough(left[node], node, to_come, entry.tp, at), node) for node in left]
            times = [(time, node) for time, node in known if time]
            if not times:
                break
            at, node = min(times)
            left[node] += sum(r.gpus for r in to_come if r.node == node and r.at <= at) - entry.tp
            to_come = [r for r in to_come if r.node != node or r.at > at]
        else:
            starts[entry.name] = at
    return starts


def about(at: datetime) -> datetime:
    """A moment as it is told: the next one that is a whole step of ABOUT."""
    late = timedelta(seconds=at.timestamp() % ABOUT.total_seconds())
    return at - late + ABOUT if late else at


def _enough(free: int, node: str, releases: Iterable[Release], tp: int, now: datetime) -> datetime | None:
    """When a node has so many free GPUs, not before `now`; None: never, as far as is known."""
    if free >= tp:
        return now
    for release in releases:
        if release.node == node:
            free += release.gpus
            if free >= tp:
                return max(now, release.at)
    return None
