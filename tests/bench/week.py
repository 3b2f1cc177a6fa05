"""A simulated week of a 16-GPU cluster with 40 people: our rule beside those that others use.

Every policy sees the same people (one seed): sessions of questions with pauses for thought, now and then
a batch whose single answer flows for up to an hour, and models that take minutes to load. One that
sleeps is woken by the next question, which waits; a deployment that finds no GPUs waits in line."""

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core.idle.verdict import ActivityWindow, IdleState, LivenessInputs
from bot.core.ports import Load
from bot.core.queue.order import QueueEntry, in_order
from bot.core.queue.placement import NodeGpus, startable
from tests.bench import row

SEED, PEOPLE, DAYS, TICK = 7, 40, 7, 30
"""Seconds of a tick: everything happens on one."""
NODES = {f"icc-gpu-{number}": 4 for number in range(1, 5)}
START = datetime(2030, 1, 7, tzinfo=UTC)
SIZES = [(1, 0.6), (2, 0.3), (4, 0.1)]


@dataclass
class Model:
    """One person's deployment; ticks are of the week."""

    name: str
    tp: int
    load_ticks: int
    node: str = ""
    ready_at: int = -1
    asked: int = -1
    until: int = -1
    tokens: float = 0.0
    successes: int = 0
    last_success: int = -1
    since: int = 0
    quiet: ActivityWindow = field(default_factory=lambda: ActivityWindow(timedelta(minutes=1)))
    waiting_since: int = -1

    def ready(self, now: int) -> bool:
        return bool(self.node) and now >= self.ready_at

    def running(self, now: int) -> bool:
        return self.ready(now) and self.until > now


Policy = Callable[[Model, int], bool]
"""Whether a model on a node is scaled to zero at a tick."""


def never(model: Model, now: int) -> bool:
    return False


def ours(model: Model, now: int) -> bool:
    """Thirty minutes by every sign of life; judged each minute."""
    if not model.ready(now) or now % 2:
        return False
    moment = START + timedelta(seconds=now * TICK)
    load = Load(int(model.running(now)), 0, model.tokens)
    window = timedelta(minutes=30)
    model.quiet.add_sample(moment, {f"{model.name}/{model.ready_at}": load}, window)
    life = LivenessInputs(START + timedelta(seconds=max(model.ready_at, model.asked) * TICK))
    return model.quiet.judge(moment, life, window).state is IdleState.IDLE


def requests_in_ten_minutes(model: Model, now: int) -> bool:
    """KubeAI: the average of requests in flight over ten minutes, and thirty seconds more. A request that
    waits for the model is in flight too."""
    quiet = now - max(model.until, model.asked, model.since) > (10 * 60 + 30) // TICK
    return bool(model.node) and quiet and not model.running(now)


def no_success_in_ten_minutes(model: Model, now: int) -> bool:
    """llm-d's: no finished request in ten minutes, once there are figures."""
    return model.ready(now) and now - max(model.last_success, model.ready_at) > 10 * 60 // TICK


def no_utilisation_in_thirty_minutes(model: Model, now: int) -> bool:
    """gpu-pruner's: half an hour at rest, of a pod that is older than that; loading is no utilisation."""
    busy = max(model.until if model.ready_at <= now else -1, model.since)
    return bool(model.node) and now - min(busy, now) > (35 * 60 if busy == model.since else 30 * 60) // TICK


POLICIES: dict[str, Policy] = {
    "no scale-down": never,
    "10 min without requests (KubeAI)": requests_in_ten_minutes,
    "10 min without success (llm-d)": no_success_in_ten_minutes,
    "30 min without utilisation (gpu-pruner)": no_utilisation_in_thirty_minutes,
    "ours": ours,
}


@dataclass
class Week:
    """What a week was like: GPU-hours at rest, minutes that each question waited, answers that were cut."""

    idle_hours: float = 0.0
    waits: list[float] = field(default_factory=list)
    cut: int = 0
    sleeps: int = 0


def questions(dice: random.Random) -> list[tuple[int, int, int]]:
    """(tick, person, ticks that the answer takes), through working days and some evenings."""
    asked = []
    for person in range(PEOPLE):
        for day in range(DAYS):
            if dice.random() > (0.45 if day < 5 else 0.1):
                continue
            minute = day * 1440 + dice.gauss(13 * 60, 150)
            for _ in range(dice.randint(3, 25)):
                batch = dice.random() < 0.03
                length = dice.uniform(12, 60) if batch else dice.uniform(0.5, 2)
                asked.append((int(minute * 60 / TICK), person, max(1, int(length * 60 / TICK))))
                minute += length + dice.expovariate(1 / 6)
    return sorted(asked)


def live(policy: Policy) -> Week:
    """Seven days, tick by tick."""
    dice = random.Random(SEED)
    sizes = dice.choices([size for size, _ in SIZES], [share for _, share in SIZES], k=PEOPLE)
    models = [
        Model(f"m{n}", tp, dice.randint(3, 10) * 60 // TICK * tp // 2 + 4) for n, tp in enumerate(sizes)
    ]
    asked, week = questions(dice), Week()
    open_questions: dict[int, list[tuple[int, int]]] = {}
    for now in range(DAYS * 86_400 // TICK):
        while asked and asked[0][0] <= now:
            _, person, length = asked.pop(0)
            open_questions.setdefault(person, []).append((now, length))
        for person, waiting in open_questions.items():
            _serve(models[person], waiting, now, week)
        _start(models, now)
        for model in models:
            _account(model, policy, now, week)
    return week


def _serve(model: Model, waiting: list[tuple[int, int]], now: int, week: Week) -> None:
    """One question after the other; the first wakes the model."""
    model.asked = now if waiting else model.asked
    if not waiting or model.running(now):
        return
    if model.ready(now):
        came, length = waiting.pop(0)
        week.waits.append((now - came) * TICK / 60)
        model.until = now + length
    elif not model.node and model.waiting_since < 0:
        model.waiting_since = now


def _start(models: list[Model], now: int) -> None:
    free = dict(NODES)
    for model in models:
        if model.node:
            free[model.node] -= model.tp
    line = [
        QueueEntry(m.name, m.tp, START + timedelta(seconds=m.waiting_since * TICK))
        for m in models
        if m.waiting_since >= 0
    ]
    moment = START + timedelta(seconds=now * TICK)
    while names := startable([NodeGpus(free[n], NODES[n]) for n in NODES], (), in_order(line), moment):
        line = [entry for entry in line if entry.name != names[0]]
        model = next(m for m in models if m.name == names[0])
        model.node = min((n for n in free if free[n] >= model.tp), key=lambda node: free[node])
        free[model.node] -= model.tp
        model.ready_at, model.since, model.waiting_since = now + model.load_ticks, now, -1
        model.quiet = ActivityWindow(timedelta(minutes=1))


def _account(model: Model, policy: Policy, now: int, week: Week) -> None:
    if model.running(now):
        model.tokens += 1
    elif model.ready(now):
        week.idle_hours += model.tp * TICK / 3600
    if model.until == now + 1:
        model.successes, model.last_success = model.successes + 1, now
    if policy(model, now):
        week.sleeps += 1
        week.cut += model.running(now) or not model.ready(now)
        model.node, model.until = "", -1


async def measure() -> list[dict[str, Any]]:
    """A week under each policy; ours against those that give anything back."""
    weeks = {name: live(policy) for name, policy in POLICIES.items()}
    for name, week in weeks.items():
        waits = sorted(week.waits)
        told = f"{week.idle_hours:7.0f} GPU-h idle  {week.cut:4} cut  {week.sleeps:4} sleeps"
        late = f"{statistics.mean(waits):5.1f} min mean  {waits[int(len(waits) * 0.95)]:5.1f} min p95"
        print(f"  {name:<42}{told}  {late}  {len(waits)} answered")
    mine, nothing = weeks["ours"], weeks["no scale-down"]
    return [
        row("week: GPU-hours idle, ours : no scale-down", mine.idle_hours / nothing.idle_hours, 0.5, ""),
        row("week: answers and starts cut by ours", mine.cut, 0, f"{mine.sleeps} sleeps"),
    ]
