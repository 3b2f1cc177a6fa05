"""Whose turn is it? Pure: a fair order, who can start now, and when the others may."""

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
    """GPU-seconds of its owner's last days, and GPUs held now: more come later."""
    urgent: bool = False
    """An admin called it urgent."""


@dataclass(frozen=True, slots=True)
class Release:
    """`gpus` of a node that will be free at a time, as far as we know now."""

    at: datetime
    node: str
    gpus: int


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A place in the line, of how many, and when it may come, if that can be said."""

    place: int
    of: int
    at: datetime | None


def in_order(waiting: Iterable[QueueEntry]) -> list[QueueEntry]:
    """What an admin called urgent, then by role; within a role who uses least, then who came first."""
    return sorted(waiting, key=lambda wish: (not wish.urgent, -wish.role, wish.used, wish.since, wish.name))


def startable(free: Mapping[str, int], waiting: Sequence[QueueEntry]) -> list[str]:
    """Those in front of the line whose GPUs are free, and those behind who take nothing from them.

    For one that must wait the node with the most free GPUs is kept. We do not choose nodes, the scheduler
    does: so nobody behind starts who could be put on a node that is kept."""
    left, kept, names = dict(free), set[str](), []
    for wish in waiting:
        if any(left[node] >= wish.tp for node in kept):
            continue
        taken = _taken(left, wish, kept)
        if taken is None:
            if others := set(left) - kept:
                kept.add(max(sorted(others), key=lambda node: left[node]))
            continue
        left = taken
        names.append(wish.name)
    return names


def _taken(left: Mapping[str, int], wish: QueueEntry, kept: set[str]) -> dict[str, int] | None:
    """What is left when each replica is where it fits most tightly; None if one fits nowhere."""
    after = dict(left)
    for _ in range(wish.replicas):
        fitting = [node for node in after if node not in kept and after[node] >= wish.tp]
        if not fitting:
            return None
        after[min(fitting, key=lambda node: (after[node], node))] -= wish.tp
    return after


def forecast(
    free: Mapping[str, int], releases: Iterable[Release], waiting: Sequence[QueueEntry]
) -> dict[str, datetime]:
    """When each may start, one after the other; not in it: those for whom nothing known suffices."""
    left, to_come, found = dict(free), sorted(releases, key=lambda release: release.at), {}
    for wish in waiting:
        times = [(time, node) for node in left if (time := _enough(left[node], node, to_come, wish))]
        if not times:
            continue
        found[wish.name], node = min(times)
        left[node] += sum(r.gpus for r in to_come if r.node == node and r.at <= found[wish.name]) - wish.tp
        to_come = [r for r in to_come if r.node != node or r.at > found[wish.name]]
    return found


def _enough(free: int, node: str, releases: Iterable[Release], wish: QueueEntry) -> datetime | None:
    """When a node has as many GPUs as one replica needs."""
    if free >= wish.tp:
        return wish.since
    for release in releases:
        if release.node == node:
            free += release.gpus
            if free >= wish.tp:
                return release.at
    return None
