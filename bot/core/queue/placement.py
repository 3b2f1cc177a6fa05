"""Who can start now. Pure: the scheduler chooses nodes, not the bot, and whatever it chooses, nobody who was
started may be left without GPUs, and nobody who waits may be passed for ever."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.core.queue.order import QueueEntry

PATIENCE = timedelta(hours=1)
"""So long others may start before one that waits, if they take nothing of what is free for it by now."""


@dataclass(frozen=True, slots=True)
class NodeGpus:
    """The GPUs of a node."""

    free: int
    """What pods could get now."""
    within_reach: int
    """What they could get if all of the bot's models gave theirs back; 0 if the node takes no pods."""


def startable(
    nodes: Sequence[NodeGpus], coming: Sequence[QueueEntry], waiting: Sequence[QueueEntry], now: datetime
) -> list[str]:
    """The names of those that can start now. `waiting` is in order; `coming` have been started, and so many
    of their `replicas` have no node yet.

    An entry starts if each of its pods, and each that is coming, finds a node wherever the others go. The
    first one that has to wait, and could start if all models gave their GPUs back, is not passed for ever:
    see `_may_pass`. One that could not start even then holds up nobody."""
    free, names = [node.free for node in nodes], list[str]()
    pods = [tp for entry in coming for tp in _finding(free, entry)]
    stuck = [entry for entry in coming if len(_finding(free, entry)) < entry.replicas]
    head = next((entry for entry in stuck if within_reach(nodes, entry)), None)
    for entry in waiting:
        more = [*pods, *[entry.tp] * entry.replicas]
        may_pass = head is None or _may_pass(nodes, head, entry, pods, now)
        if may_pass and all_find_nodes(free, more):
            pods = more
            names.append(entry.name)
        elif head is None and within_reach(nodes, entry):
            head = entry
    return names


def within_reach(nodes: Sequence[NodeGpus], entry: QueueEntry) -> bool:
    """It could start if all of the bot's models gave their GPUs back."""
    return _places([node.within_reach for node in nodes], entry.tp) >= entry.replicas


def all_find_nodes(free: Sequence[int], pods: Sequence[int]) -> bool:
    """Whether each of the pods finds enough GPUs, in whatever order they come and to whatever nodes they go.
    False also if that is not certain."""
    return all(_places_left(free, _without(pods, tp), tp) >= 1 for tp in set(pods))


def _may_pass(
    nodes: Sequence[NodeGpus], head: QueueEntry, entry: QueueEntry, pods: Sequence[int], now: datetime
) -> bool:
    """Whether an entry may start before `head`, of which more GPUs must become free.

    While the head has not waited for PATIENCE, others may take what leaves it no further from its start than
    it is, wherever they go. Then only what it cannot use: nothing goes to a node on which it could run, so
    that it starts once those who are there now have gone."""
    useful = [node.free for node in nodes if node.within_reach >= head.tp]
    if now - head.since >= PATIENCE:
        return entry.tp > max(useful)
    after = [*pods, *[entry.tp] * entry.replicas]
    return _has(useful, head, after) >= _has(useful, head, pods)


def _has(free: Sequence[int], head: QueueEntry, pods: Sequence[int]) -> tuple[int, int]:
    """What is left for an entry wherever these pods go: the replicas that find a node, and the GPUs of one
    node for the next one."""
    whole = min(head.replicas, _places_left(free, pods, head.tp))
    if whole == head.replicas:
        return whole, 0
    rest = [gpus % head.tp for gpus in free]
    return whole, max((tp for tp in range(1, head.tp) if _places_left(rest, pods, tp)), default=0)


def _finding(free: Sequence[int], entry: QueueEntry) -> list[int]:
    """Its pods that could each find a node now."""
    return [entry.tp] * min(entry.replicas, _places(free, entry.tp))


def _places(free: Sequence[int], tp: int) -> int:
    return sum(gpus // tp for gpus in free)


def _places_left(free: Sequence[int], pods: Sequence[int], tp: int) -> int:
    """So many pods of `tp` GPUs find a node at least, wherever these other pods go.

    A pod of n GPUs takes at most n / tp places, rounded up. And to take the first place of a node, others
    must fill what is left over beside its places and one GPU more; for each further one `tp` GPUs more."""
    by_pods = sum(-(-pod // tp) for pod in pods)
    gpus, by_gpus = sum(pods), 0
    for cost in sorted(of_node % tp + 1 for of_node in free if of_node >= tp):
        if cost > gpus:
            break
        gpus, by_gpus = gpus - cost, by_gpus + 1
    return max(0, _places(free, tp) - min(by_pods, by_gpus + gpus // tp))


def _without(pods: Sequence[int], tp: int) -> list[int]:
    others = list(pods)
    others.remove(tp)
    return others
