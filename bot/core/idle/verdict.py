"""Is a model idle? Pure: what its servers have shown goes in, a verdict with its evidence comes out."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from bot.core.deployment.workload import Workload
from bot.core.ports import Load

COVERAGE = 0.9
"""The share of a window that must have been seen before it counts as idle, from 0 to 1."""
LONGEST_HOLE = 2.5
"""So many sweep intervals without a sample are no more than a late sweep; in a longer hole anything may have
happened."""
BUSY = 0.05
"""The share of a GPU's time above which it is at work, from 0 to 1, even if its server counts no request."""
LONGEST_WINDOW = timedelta(days=7)
"""No model may be idle for longer, whoever asks for it and however often. It bounds what is kept of samples,
too."""
PROBES = 2
"""After so many probes, a request that gets no token for a whole window no longer counts."""


class IdleState(StrEnum):
    """What is known of a model's use. Only `idle` ever leads to sleep."""

    ACTIVE = "active"
    """It is used, or its window is not over."""
    IDLE = "idle"
    """Nobody has used it for its whole window."""
    UNKNOWN = "unknown"
    """Too little of its window was seen, or for too long nothing."""
    SUSPECT = "suspect"
    """Its servers count requests, but none has had a token for a whole window."""


@dataclass(frozen=True, slots=True)
class IdleVerdict:
    """Whether a model is idle, with the evidence."""

    state: IdleState
    """The verdict itself."""
    since: datetime
    """When it was last used or started, as far as is known."""
    due: datetime
    """When its window is over, if it is not used until then."""
    seen: timedelta = timedelta(0)
    """How much of its window, up to now, was seen."""
    window: timedelta = timedelta(0)
    """How long its window is."""
    hole: timedelta = timedelta(0)
    """How long nothing was seen of it in a row, at most, in its window."""
    running: int = 0
    """Requests that its servers were answering in the last sample."""
    waiting: int = 0
    """Requests that were in its servers' queues in the last sample."""
    in_flight: int = 0
    """Questions of people in chat that it is answering now."""
    gpus: float = 0.0
    """How busy its busiest GPU was in the last ten minutes, from 0 to 1; 0 also if that is not known."""


@dataclass(frozen=True, slots=True)
class LivenessInputs:
    """Signs that a model is used which its servers do not show."""

    since: datetime
    """The latest moment at which it was deployed, woken, ready or asked."""
    keep_until: datetime | None = None
    """Until when a person wants it kept; None: nobody does."""
    in_flight: int = 0
    """Questions of people in chat that it is answering now."""
    gpus: float = 0.0
    """How busy its GPUs were lately, from 0 to 1. Above BUSY it is used; below, or 0 because nobody knows, it
    may be used all the same."""


@dataclass(frozen=True, slots=True)
class IdlePolicy:
    """When models go to sleep and are removed, as the settings say."""

    window: timedelta = timedelta(minutes=30)
    """How long a model may be idle."""
    warning: timedelta = timedelta(minutes=10)
    """How long before it sleeps its owner is warned; of a short window, at most half of it."""
    interval: timedelta = timedelta(seconds=60)
    """The time between two sweeps, and so between two samples."""
    windows: Mapping[str, timedelta] = field(default_factory=dict)
    """The windows of models that have one of their own, by catalog key."""
    act: bool = True
    """Put idle models to sleep; if not, only report what would happen."""
    failed_after: timedelta = timedelta(minutes=30)
    """How long a model that has failed keeps its GPUs."""
    stop_after: timedelta = timedelta(days=14)
    """How long a model may sleep before it is removed."""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Europe/Berlin"))
    """The time zone of office hours."""

    def window_of(self, workload: Workload) -> timedelta:
        """How long a workload may be idle: its own window, else its model's, else the general one."""
        own = workload.record.idle_window
        return min(own or self.windows.get(workload.spec.model, self.window), LONGEST_WINDOW)

    def longer_window(self, workload: Workload) -> timedelta:
        """Twice as long as its window, but not longer than LONGEST_WINDOW."""
        return min(2 * self.window_of(workload), LONGEST_WINDOW)

    def warned_before(self, workload: Workload) -> timedelta:
        """How long before it sleeps the owner of a workload is warned."""
        return min(self.warning, self.window_of(workload) / 2)


class ActivityWindow:
    """What the servers of one model have shown lately, when that last differed, and when nothing was seen.

    `interval` is the time between two samples. A sample has a load for each server, by `Server.id`. It
    vouches for one interval before it and one after it: what is not near a sample was not seen. Any
    difference between two samples means that the model is used: a token, a request that comes or goes, a
    server that is new or has started again."""

    def __init__(self, interval: timedelta) -> None:
        self.loads: Mapping[str, Load] = {}
        """The last sample; empty: there is none yet."""
        self._interval = interval
        self._changed_at: datetime | None = None
        self._sampled: tuple[datetime, datetime] | None = None
        """When the first and the last sample were taken."""
        self._gaps: deque[tuple[datetime, datetime]] = deque()
        """The samples before and after each time that was not seen whole."""
        self._probes = 0

    def add_sample(self, now: datetime, loads: Mapping[str, Load], keep: timedelta) -> None:
        """Remember a sample of all of the model's servers, and forget gaps that are older than `keep`."""
        if self._sampled and now < self._sampled[1]:  # the clock was set back: nothing is certain
            self._gaps.clear()
            self._sampled = self._changed_at = None
        if self._sampled and loads != self.loads:
            self._changed_at, self._probes = now, 0
        self.loads = loads
        first, last = self._sampled or (now, now)
        if now - last > 2 * self._interval:
            self._gaps.append((last, now))
        self._sampled = first, now
        while self._gaps and self._gaps[0][1] <= now - keep:
            self._gaps.popleft()

    def ignore_probe(self, loads: Mapping[str, Load]) -> None:
        """Take the loads after a probe for the last sample, so that what the probe changed does not count as
        use; no `loads`: the servers did not say."""
        self.loads = loads or self.loads
        self._probes += 1

    def judge(self, now: datetime, inputs: LivenessInputs, window: timedelta) -> IdleVerdict:
        """The verdict now, for a window of this length."""
        running = sum(load.running for load in self.loads.values())
        waiting = sum(load.waiting for load in self.loads.values())
        since = max(self._changed_at or inputs.since, inputs.since)
        due = max(since, inputs.keep_until or since) + window
        seen, hole = self._coverage(now - window, now)
        if inputs.in_flight or inputs.gpus > BUSY:
            state = IdleState.ACTIVE
        elif not self._is_fresh(now):
            state = IdleState.UNKNOWN
        elif now < due:
            state = IdleState.ACTIVE
        elif seen < COVERAGE * window or hole > LONGEST_HOLE * self._interval:
            state = IdleState.UNKNOWN
        else:
            stuck = (running or waiting) and self._probes < PROBES
            state = IdleState.SUSPECT if stuck else IdleState.IDLE
        evidence = seen, window, hole, running, waiting, inputs.in_flight, inputs.gpus
        return IdleVerdict(state, since, due, *evidence)

    def _is_fresh(self, now: datetime) -> bool:
        """The last sample is not too old to judge by, and not of a clock that was set back since."""
        age = now - self._sampled[1] if self._sampled else None
        return age is not None and timedelta(0) <= age <= LONGEST_HOLE * self._interval

    def _coverage(self, begin: datetime, end: datetime) -> tuple[timedelta, timedelta]:
        """How much of the time from `begin` to `end` was seen; and the longest time in it without a sample,
        if that was not seen whole."""
        if self._sampled is None:
            return timedelta(0), end - begin
        first, last = self._sampled
        near = self._interval
        holes = [(begin, first), *self._gaps, (last, end)]
        unseen = [(begin, first - near), *((a + near, b - near) for a, b in self._gaps), (last + near, end)]
        longest = max(_overlap(begin, end, *hole) for hole in holes)
        return end - begin - sum((_overlap(begin, end, *time) for time in unseen), timedelta(0)), longest


def _overlap(begin: datetime, end: datetime, since: datetime, until: datetime) -> timedelta:
    """How much of the time from `begin` to `end` lies between two moments."""
    return max(timedelta(0), min(end, until) - max(begin, since))
