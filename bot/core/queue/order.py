"""The queue for GPUs. Pure: a fair order, which deployments can start now, and when the others may."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.core.access.roles import Role


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
    """GPU-seconds that its owner used in the last days, plus the GPUs that the owner holds now. Owners who
    used less come first."""
    urgent: bool = False
    """It comes before all others that are not: an admin asked for it."""


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
    """When it will probably start; None: nothing that is known would give it enough GPUs."""


def in_order(waiting: Iterable[QueueEntry]) -> list[QueueEntry]:
    """The urgent ones first, then by role, the highest first; within a role those whose owners used least,
    and of these those that have waited longest."""
    return sorted(
        waiting, key=lambda entry: (not entry.urgent, -entry.role, entry.used, entry.since, entry.name)
    )


def startable(free: Mapping[str, int], waiting: Sequence[QueueEntry]) -> list[str]:
    """The names of those that can start now; `free` are the free GPUs of each node, `waiting` is in order.

    For an entry that must wait, the node with the most free GPUs is reserved. The scheduler chooses nodes,
    not the bot: so an entry further back starts only if it fits on no reserved node."""
    left, reserved, names = dict(free), set[str](), []
    for entry in waiting:
        if any(left[node] >= entry.tp for node in reserved):
            continue
        remaining = _place_replicas(left, entry, reserved)
        if remaining is None:
            if others := set(left) - reserved:
                reserved.add(max(sorted(others), key=lambda node: left[node]))
            continue
        left = remaining
        names.append(entry.name)
    return names


def _place_replicas(left: Mapping[str, int], entry: QueueEntry, reserved: set[str]) -> dict[str, int] | None:
    """The free GPUs of each node after each replica has gone where it leaves the fewest; None if one fits
    nowhere."""
    after = dict(left)
    for _ in range(entry.replicas):
        fitting = [node for node in after if node not in reserved and after[node] >= entry.tp]
        if not fitting:
            return None
        after[min(fitting, key=lambda node: (after[node], node))] -= entry.tp
    return after


def forecast(
    free: Mapping[str, int], releases: Iterable[Release], waiting: Sequence[QueueEntry]
) -> dict[str, datetime]:
    """When each entry will probably start, by name, if they start one after the other. An entry is missing if
    nothing that is known will give it enough GPUs."""
    left, to_come, starts = dict(free), sorted(releases, key=lambda release: release.at), {}
    for entry in waiting:
        times = [(time, node) for node in left if (time := _enough(left[node], node, to_come, entry))]
        if not times:
            continue
        starts[entry.name], node = min(times)
        left[node] += sum(r.gpus for r in to_come if r.node == node and r.at <= starts[entry.name]) - entry.tp
        to_come = [r for r in to_come if r.node != node or r.at > starts[entry.name]]
    return starts


def _enough(free: int, node: str, releases: Iterable[Release], entry: QueueEntry) -> datetime | None:
    """When a node has as many free GPUs as one replica needs; None: never, as far as is known."""
    if free >= entry.tp:
        return entry.since
    for release in releases:
        if release.node == node:
            free += release.gpus
            if free >= entry.tp:
                return release.at
    return None
