"""Background jobs that outlive their own bugs: one that fails starts again, and is reported if it goes on."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

Job = Callable[[], Coroutine[Any, Any, None]]
"""Starts the job anew at each call."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RestartPace:
    """How patient a supervisor is; all in seconds."""

    first_pause: float = 1.0
    longest_pause: float = 60.0
    """Pauses before a failed job starts again: they double from the first to the longest."""
    steady: float = 30.0
    """A job that has run for so long works again."""
    lasting: float = 60.0
    """A job that has not worked for so long is down."""


USUAL_RESTARTS = RestartPace()


@dataclass(slots=True)
class _Run:
    """What is known of one job; times of the event loop, in seconds."""

    failing_since: float | None = None
    """The first of its failures in a row."""
    started_at: float | None = None
    """None while it pauses."""


class Supervisor:
    """Keeps jobs running, and knows which of them are down."""

    def __init__(self, pace: RestartPace = USUAL_RESTARTS) -> None:
        self._pace = pace
        self._runs: dict[str, _Run] = {}
        self._others: list[Callable[[], Sequence[str]]] = []

    def also(self, down: Callable[[], Sequence[str]]) -> None:
        """Report what somebody else watches over, too: `down` gives the names of what is down."""
        self._others.append(down)

    def down(self) -> list[str]:
        """Names of what has not worked for a while."""
        own = [name for name, run in self._runs.items() if self._is_down(run)]
        return own + [name for others in self._others for name in others()]

    async def keep(self, name: str, job: Job) -> None:
        """Run a job until it ends by itself; whenever it fails, it starts again after a pause."""
        run = self._runs[name] = _Run()
        pause = self._pace.first_pause
        try:
            while True:
                run.started_at = self._now()
                try:
                    return await job()
                except Exception:
                    log.exception("job.failed", job=name)
                if self._now() - run.started_at >= self._pace.steady:
                    run.failing_since, pause = None, self._pace.first_pause
                run.started_at, run.failing_since = None, run.failing_since or self._now()
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(2 * pause, self._pace.longest_pause)
        finally:
            del self._runs[name]

    async def keep_all(self, **jobs: Job) -> None:
        """Run several, by name, until all have ended."""
        async with asyncio.TaskGroup() as tasks:
            for name, job in jobs.items():
                tasks.create_task(self.keep(name, job))

    def _is_down(self, run: _Run) -> bool:
        now = self._now()
        works = run.started_at is not None and now - run.started_at >= self._pace.steady
        return run.failing_since is not None and not works and now - run.failing_since >= self._pace.lasting

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
