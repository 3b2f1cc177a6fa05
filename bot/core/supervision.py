"""Supervises background jobs: one that fails is started again, and reported if it keeps failing."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from bot.core.backoff import Backoff

Job = Callable[[], Coroutine[Any, Any, None]]
"""Starts the job at each call."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RestartPace:
    """When a supervisor starts a failed job again, and when it counts it as down. All in seconds."""

    first_pause: float = 1.0
    """The pause after the first failure; each further one doubles it."""
    longest_pause: float = 60.0
    """The longest pause."""
    steady: float = 30.0
    """A job that has run for so long works again."""
    lasting: float = 60.0
    """A job that has not worked for so long is down."""


USUAL_RESTARTS = RestartPace()
"""The pace outside of tests."""


@dataclass(slots=True)
class _Run:
    """How a job is doing. Times are those of the event loop, in seconds."""

    failing_since: float | None = None
    """When the first of its failures in a row was; None: it works."""
    started_at: float | None = None
    """When it was started last; None: it pauses."""


class Supervisor:
    """Keeps jobs running, and knows which of them are down."""

    def __init__(self, pace: RestartPace = USUAL_RESTARTS) -> None:
        self._pace = pace
        self._runs: dict[str, _Run] = {}
        self._sources: list[Callable[[], Sequence[str]]] = []

    def add_source(self, down: Callable[[], Sequence[str]]) -> None:
        """Add another place that knows what does not work: `down` gives the names."""
        self._sources.append(down)

    def down(self) -> list[str]:
        """The names of the jobs that have not worked for a while, and of what the added sources name."""
        own = [name for name, run in self._runs.items() if self._is_down(run)]
        return own + [name for source in self._sources for name in source()]

    async def keep(self, name: str, job: Job) -> None:
        """Run a job until it ends by itself; whenever it fails, it starts again after a pause."""
        run = self._runs[name] = _Run()
        backoff = Backoff(self._pace.first_pause, self._pace.longest_pause)
        try:
            while True:
                run.started_at = self._now()
                try:
                    return await job()
                except Exception:
                    log.exception("job.failed", job=name)
                if self._now() - run.started_at >= self._pace.steady:
                    run.failing_since = None
                    backoff.reset()
                run.started_at, run.failing_since = None, run.failing_since or self._now()
                await asyncio.sleep(backoff.pause())
        finally:
            del self._runs[name]

    async def keep_all(self, **jobs: Job) -> None:
        """Run several jobs by name, until all have ended."""
        async with asyncio.TaskGroup() as tasks:
            for name, job in jobs.items():
                tasks.create_task(self.keep(name, job))

    def _is_down(self, run: _Run) -> bool:
        now = self._now()
        works = run.started_at is not None and now - run.started_at >= self._pace.steady
        return run.failing_since is not None and not works and now - run.failing_since >= self._pace.lasting

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
