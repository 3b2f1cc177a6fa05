"""Is a model idle? Pure: what its servers showed goes in, a verdict with its evidence comes out."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from bot.core.deployment.workload import Workload
from bot.core.ports import Load

COVERAGE = 0.9
"""Of the samples that a window has, so many must be there."""
STALE = 2.5
"""Sweeps without a sample until what we know is too old to judge."""
BUSY = 0.05
"""Of a GPU's time: more is work that no request of the server explains."""
PROBES = 2
"""Probes after which a request that gets no token for a whole window no longer counts."""


class IdleState(StrEnum):
    """Only `idle` ever leads to sleep."""

    ACTIVE = "active"
    IDLE = "idle"
    UNKNOWN = "unknown"
    SUSPECT = "suspect"


@dataclass(frozen=True, slots=True)
class IdleVerdict:
    """`since` is the last sign of life, `due` when the window is over if none comes; `seen` of `expected`
    samples of the window are there; `running` and `waiting` are requests in the last one, and `gpus` is how
    busy its GPUs were lately, from 0 to 1."""

    state: IdleState
    since: datetime
    due: datetime
    seen: int = 0
    expected: int = 0
    running: int = 0
    waiting: int = 0
    in_flight: int = 0
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class LivenessInputs:
    """What speaks for a model besides its servers: `since` is the latest of ready, woken, redeployed and
    asked, `kept` until when a person wants it kept. GPUs that are busy (`gpus`) speak for it, too; that they
    are not, or that nobody knows, speaks against nothing."""

    since: datetime
    kept: datetime | None = None
    in_flight: int = 0
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class IdlePolicy:
    """How long a model may be idle, and how long before the end of that its owner is warned; `windows` are
    those of single models, by catalog key. With `act` False it is only told what would happen. What has
    failed gives its GPUs back after `failed_after`, what sleeps is removed after `stop_after`; office hours
    are those of `zone`."""

    window: timedelta = timedelta(minutes=30)
    warning: timedelta = timedelta(minutes=10)
    interval: timedelta = timedelta(seconds=60)
    windows: Mapping[str, timedelta] = field(default_factory=dict)
    act: bool = True
    failed_after: timedelta = timedelta(minutes=30)
    stop_after: timedelta = timedelta(days=14)
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Europe/Berlin"))

    def window_of(self, workload: Workload) -> timedelta:
        """Its own, else its model's, else everybody's."""
        own = workload.record.idle_window
        return own or self.windows.get(workload.spec.model, self.window)

    def warned_before(self, workload: Workload) -> timedelta:
        """How long before its end a window is announced; half of a short one."""
        return min(self.warning, self.window_of(workload) / 2)


class ActivityWindow:
    """What the servers of one model have shown, and when anything of it last changed.

    A sample has all of its servers, by pod and restart: a new one, a counter that starts again, and any
    change of running or waiting requests are signs of life like a token."""

    def __init__(self) -> None:
        self.loads: Mapping[str, Load] = {}
        self._moved: datetime | None = None
        self._samples: deque[datetime] = deque()
        self._probes = 0

    def see(self, now: datetime, loads: Mapping[str, Load], keep: timedelta) -> None:
        """A whole sample; `keep` is how long samples are remembered."""
        if self._samples and now < self._samples[-1]:  # the clock was set back: nothing is certain
            self._samples.clear()
            self._moved = None
        if self._samples and loads != self.loads:
            self._moved, self._probes = now, 0
        self.loads = loads
        self._samples.append(now)
        while self._samples[0] < now - keep:
            self._samples.popleft()

    def probed(self, loads: Mapping[str, Load]) -> None:
        """What a question of our own has changed is no sign of life."""
        self.loads = loads
        self._probes += 1

    def judge(
        self, now: datetime, life: LivenessInputs, window: timedelta, interval: timedelta
    ) -> IdleVerdict:
        """Anything missing is `unknown`, and requests that get no tokens are `suspect`."""
        running = sum(load.running for load in self.loads.values())
        waiting = sum(load.waiting for load in self.loads.values())
        since = max(self._moved or life.since, life.since)
        due = max(since, life.kept or since) + window
        expected = max(1, int(window / interval))
        seen = sum(sample > now - window for sample in self._samples)
        fresh = bool(self._samples) and timedelta(0) <= now - self._samples[-1] <= STALE * interval
        if life.in_flight or life.gpus > BUSY:
            state = IdleState.ACTIVE
        elif not fresh:
            state = IdleState.UNKNOWN
        elif now < due:
            state = IdleState.ACTIVE
        elif seen < COVERAGE * expected:
            state = IdleState.UNKNOWN
        else:
            stuck = (running or waiting) and self._probes < PROBES
            state = IdleState.SUSPECT if stuck else IdleState.IDLE
        shown = min(seen, expected), expected, running, waiting, life.in_flight, life.gpus
        return IdleVerdict(state, since, due, *shown)
