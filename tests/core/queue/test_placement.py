"""Who can start now: safe wherever the scheduler puts pods, and nobody waits for ever."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from bot.core.access.roles import Role
from bot.core.queue.order import LONGEST_HEAD_START, QueueEntry, in_order
from bot.core.queue.placement import PATIENCE, NodeGpus, all_find_nodes, startable, within_reach

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
PLACEMENTS = 30_000


def wish(name: str, tp: int, hours: float = 0, replicas: int = 1) -> QueueEntry:
    """It has waited for so many hours."""
    return QueueEntry(name, tp, NOON - timedelta(hours=hours), replicas)


def nodes(*free: int, of: int = 4) -> list[NodeGpus]:
    return [NodeGpus(gpus, of) for gpus in free]


def start(free: Sequence[NodeGpus], *waiting: QueueEntry, coming: Sequence[QueueEntry] = ()) -> list[str]:
    return startable(free, coming, waiting, NOON)


def test_all_start_that_fit_wherever_they_go() -> None:
    assert start(nodes(4, 4), wish("a", 2), wish("b", 2)) == ["a", "b"]
    assert start(nodes(4, 1), wish("big", 4), wish("small", 1)) == ["big"]  # it may go where the big one must
    assert start(nodes(4, 4), wish("two", 4, replicas=2)) == ["two"]
    assert start(nodes(4, 3), wish("two", 4, replicas=2)) == []
    assert start(nodes(4, 4), wish("small", 1), wish("big", 4)) == ["small", "big"]
    assert start(nodes(4, 4), wish("new", 4), coming=[wish("one", 1)]) == ["new"]
    assert start(nodes(4, 4), wish("new", 4), coming=[wish("two", 1, replicas=2)]) == []


def test_who_could_not_start_even_with_all_gpus_of_the_models_holds_up_nobody() -> None:
    never = wish("never", 8, hours=100)
    assert start(nodes(1, 0), never, wish("small", 1)) == ["small"]
    foreign = [NodeGpus(1, 3), NodeGpus(0, 2)]  # others hold a GPU and two
    assert start(foreign, wish("big", 4, hours=100), wish("small", 1)) == ["small"]
    assert start(foreign, wish("pair", 3, hours=100, replicas=2), wish("small", 1)) == ["small"]
    assert not within_reach(foreign, wish("big", 4)) and within_reach(foreign, wish("three", 3))
    assert start([NodeGpus(4, 4), NodeGpus(0, 0)], wish("small", 1), coming=[never]) == ["small"]


def test_while_it_is_new_others_pass_who_take_nothing_that_is_free_for_it() -> None:
    big = wish("big", 4)
    assert start(nodes(3, 0), big, wish("small", 1)) == []
    assert start(nodes(3, 1), big, wish("small", 1)) == []  # the scheduler might put it on the first
    assert start(nodes(3, 3), big, wish("small", 1), wish("more", 1)) == ["small"]
    assert start(nodes(3, 3), big, wish("two", 2), wish("more", 1)) == ["two"]
    other = [NodeGpus(3, 4), NodeGpus(2, 2)]  # the second node is too small for the big one
    assert start(other, big, wish("small", 1)) == []
    assert start([NodeGpus(0, 4), NodeGpus(2, 2)], big, wish("small", 1)) == ["small"]
    pair = wish("pair", 4, replicas=2)
    assert start(nodes(4, 2), pair, wish("small", 1)) == []
    assert start(nodes(5, 3, 3, of=8), pair, wish("small", 1)) == ["small"]
    assert start(nodes(5, 3, 3, of=8), pair, wish("two", 2)) == []


def test_one_that_has_waited_keeps_every_node_on_which_it_could_run() -> None:
    assert start(nodes(3, 3), wish("big", 4, hours=1), wish("small", 1)) == []
    assert start([NodeGpus(0, 8), NodeGpus(3, 4)], wish("big", 8, hours=9), wish("small", 1)) == ["small"]
    assert start([NodeGpus(1, 8), NodeGpus(3, 4)], wish("big", 8, hours=9), wish("small", 1)) == []
    assert start([NodeGpus(1, 8), NodeGpus(3, 4)], wish("big", 8, hours=9), wish("two", 2)) == ["two"]
    displaced = wish("displaced", 4, hours=2)  # it was started, and something took its GPUs
    assert start(nodes(3, 3), wish("small", 1), coming=[displaced]) == []


def cluster(dice: random.Random) -> tuple[list[NodeGpus], list[QueueEntry], list[QueueEntry]]:
    """Nodes, those that are coming and can be placed, and a queue."""
    total = dice.choice([2, 4, 8])
    found = []
    for _ in range(dice.randint(1, 6)):
        free = dice.randint(0, total)
        found.append(NodeGpus(free, dice.randint(free, total)))
    sizes = dice.choice([[1, 2, 4], [1, 2, 4, 8], [1, 2, 3, 4, 6]])
    line = [
        wish(f"w{n}", dice.choice(sizes), dice.choice([0, 0.5, 2]), dice.choice([1, 1, 1, 2, 3]))
        for n in range(dice.randint(1, 8))
    ]
    coming = [wish(f"c{n}", dice.choice(sizes)) for n in range(dice.choice([0, 0, 0, 1, 2]))]
    safe = coming if all_find_nodes([n.free for n in found], [c.tp for c in coming]) else []
    return found, safe, line


@pytest.mark.parametrize("seed", range(3))
def test_kind_15_no_choice_of_the_scheduler_leaves_one_that_was_started_pending(seed: int) -> None:
    """Any node with enough GPUs, in any order; of 855 of 30,000 such choices one was left."""
    dice, started = random.Random(seed), 0
    for _ in range(PLACEMENTS // 3):
        found, coming, line = cluster(dice)
        names = startable(found, coming, line, NOON)
        pods = [e.tp for e in [*coming, *line] if e in coming or e.name in names for _ in range(e.replicas)]
        started += len(names)
        for choose in (min, max, dice.choice, dice.choice):
            free = [node.free for node in found]
            dice.shuffle(pods)
            if choose in (min, max):  # the worst that is known: small ones first, to the fullest or emptiest
                pods.sort()
            for tp in pods:
                fitting = [n for n, gpus in enumerate(free) if gpus >= tp]
                assert fitting, (found, coming, line, names)
                node = choose(fitting, key=free.__getitem__) if choose in (min, max) else choose(fitting)
                free[node] -= tp
    assert started > PLACEMENTS // 6  # it does start some


def always_fit(free: tuple[int, ...], pods: tuple[int, ...]) -> bool:
    """Every order and every node are tried."""

    @cache
    def stuck(free: tuple[int, ...], pods: tuple[int, ...]) -> bool:
        for tp in set(pods):
            rest = list(pods)
            rest.remove(tp)
            fitting = [n for n, gpus in enumerate(free) if gpus >= tp]
            if not fitting:
                return True
            for n in fitting:
                after = tuple(sorted([*free[:n], free[n] - tp, *free[n + 1 :]]))
                if stuck(after, tuple(rest)):
                    return True
        return False

    return not stuck(tuple(sorted(free)), tuple(sorted(pods)))


def test_what_is_called_certain_is_and_little_else_is() -> None:
    """Against every placement there is; of those that always fit most are known to."""
    dice, known, true = random.Random(1), 0, 0
    for _ in range(1500):
        free = tuple(dice.randint(0, 4) for _ in range(dice.randint(1, 3)))
        pods = tuple(dice.choice([1, 2, 4]) for _ in range(dice.randint(1, 4)))
        fits = always_fit(free, pods)
        assert fits or not all_find_nodes(free, pods)
        known, true = known + all_find_nodes(free, pods), true + fits
        if len(set(pods)) == 1:
            assert all_find_nodes(free, pods) is fits
    assert known > 0.9 * true


@dataclass
class Town:
    """People who come at random, hold GPUs for at most LONGEST, and a scheduler that chooses at random."""

    dice: random.Random
    total: list[int]
    held: list[tuple[datetime, int, int]] = field(default_factory=list)
    """Until when, on which node, how many."""
    line: list[QueueEntry] = field(default_factory=list)
    waited: dict[str, tuple[timedelta, int]] = field(default_factory=dict)
    """How long each waited, and how many started before it that it saw waiting, or that came soon after."""
    ahead: dict[str, set[str]] = field(default_factory=dict)

    def free(self) -> list[int]:
        left = list(self.total)
        for _, node, gpus in self.held:
            left[node] -= gpus
        return left

    def live(self, now: datetime) -> None:
        self.held = [held for held in self.held if held[0] > now]
        order = in_order(self.line)
        for n, entry in enumerate(order):
            self.ahead.setdefault(entry.name, set()).update(before.name for before in order[:n])
        found = [NodeGpus(free, total) for free, total in zip(self.free(), self.total, strict=True)]
        for name in startable(found, (), order, now):
            entry = next(e for e in self.line if e.name == name)
            self.line.remove(entry)
            self.waited[name] = (now - entry.since, len(self.ahead.pop(name)))
            until = now + self.dice.uniform(0.2, 1) * LONGEST
            for _ in range(entry.replicas):
                node = self.dice.choice([n for n, gpus in enumerate(self.free()) if gpus >= entry.tp])
                self.held.append((until, node, entry.tp))


LONGEST = timedelta(hours=6)
STEP = timedelta(minutes=20)


@pytest.mark.parametrize("seed", range(6))
def test_kind_15_everybody_starts_after_a_bounded_wait_whoever_else_comes(seed: int) -> None:
    """A day, in which others may still come before it; an hour, in which they may pass it; and for each that
    came before it, and for itself, the longest time that somebody holds GPUs."""
    dice = random.Random(seed)
    town, now, number = Town(dice, dice.choice([[4, 4], [4, 4, 8], [2, 4, 4]])), NOON, 0
    while number < 250 or (town.line and now < NOON + timedelta(days=400)):
        now += STEP
        while number < 250 and dice.random() < 0.4:  # more than the GPUs can serve
            number += 1
            entry = wish(f"w{number}", dice.choice([1, 1, 1, 1, 2, 4]), 0, dice.choice([1, 1, 1, 2]))
            role, used = dice.choice([*Role, Role.ADMIN]), dice.choice([0, 1e4, 1e6])
            urgent = dice.random() < 0.1
            town.line.append(replace(entry, since=now, role=role, used=used, urgent=urgent))
        town.live(now)
    assert not town.line and len(town.waited) == 250
    for wait, ahead in town.waited.values():
        assert wait <= LONGEST_HEAD_START + PATIENCE + (ahead + 1) * (LONGEST + STEP)


def test_kind_15_an_endless_stream_of_small_ones_does_not_starve_a_big_one() -> None:
    dice = random.Random(0)
    town, now = Town(dice, [4, 4]), NOON
    for minute in range(5000):
        now += STEP
        small = replace(wish(f"s{minute}", 1), since=now, role=Role.ADMIN)
        town.line += [small, replace(small, name=f"t{minute}")]
        if minute == 100:
            town.line.append(replace(wish("big", 4), since=now, role=Role.STUDENT, used=1e9))
        town.live(now)
        if "big" in town.waited:
            break
    wait, ahead = town.waited["big"]
    assert wait <= LONGEST_HEAD_START + PATIENCE + (ahead + 1) * (LONGEST + STEP)
