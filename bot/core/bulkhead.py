"""Keeps what goes wrong with one model from everything else."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

import structlog

from bot.core.backoff import Backoff
from bot.core.chat.errors import UserError
from bot.core.counters import FAILURES

log = structlog.get_logger()


class WorkKind(StrEnum):
    """What the background does about one model, or about all of them in one go."""

    SWEEP = "sweep"
    """What is due about an idle model."""
    SAMPLE = "sample"
    """Asking its servers what they do."""
    MONITORING = "monitoring"
    """Reading what the cluster's monitoring shows."""
    USAGE = "usage"
    """Writing down who held how many GPUs."""
    ADMISSION = "admission"
    """Looking whether a model that waits may start at all."""
    QUEUE = "queue"
    """Starting a model whose turn it is."""
    RECLAIM = "reclaim"
    """Choosing a model that gives its GPUs back early."""
    CREATION = "creation"
    """Completing what a crash has left half made."""
    PROGRESS = "progress"
    """Reading its log while it starts."""
    END = "end"
    """Writing down how its last run ended."""
    SMOKE_TEST = "smoke-test"
    """Asking it a first question."""
    START = "start"
    """Writing down that it is ready."""
    CARD = "card"
    """Showing how it is."""
    QUESTION = "question"
    """Going on with a question that waits for it."""
    WEB_UI = "web-ui"
    """Connecting Open WebUI."""
    INCIDENT = "incident"
    """Finding what is wrong with it."""
    ALERTS = "alerts"
    """Telling admins."""
    REPORT = "report"
    """The report of the morning."""


OFTEN = 3
"""Failures in a row before admins are told: fewer may be a short fault of the network."""
NOT_TRIED = 3600.0
"""Seconds after which work that has failed and was not tried again is forgotten: nobody wants it any more."""


@dataclass(slots=True)
class _Failing:
    """Work that fails."""

    backoff: Backoff
    times: int = 0
    """How often in a row."""
    error: str = ""
    """The type of the last exception."""
    pause: float = 0.0
    """Seconds until it should be tried again."""
    at: float = field(default_factory=monotonic)
    """When it failed last, by the monotonic clock, in seconds."""


class Bulkhead:
    """Keeps the failure of what is done about one model from everything else: it is logged once and counted,
    and known until the same work goes well. Whoever does the work tries again later."""

    def __init__(self, first_pause: float = 1.0, longest_pause: float = 60.0) -> None:
        self._pauses = first_pause, longest_pause
        self._failing: dict[tuple[WorkKind, str], _Failing] = {}

    @contextmanager
    def isolated(self, work: WorkKind, about: str = "") -> Iterator[None]:
        """An exception in this block ends the block and nothing else. `about` is the name of a model; empty:
        it is about all of them."""
        try:
            yield
        except Exception as error:
            self._failed(work, about, error)
        else:
            self._failing.pop((work, about), None)

    def pause(self, about: str, *works: WorkKind) -> float:
        """Seconds until work of these kinds about a model should be tried again; 0: the last try of each went
        well."""
        found = (self._failing.get((work, about)) for work in works)
        return max((failing.pause for failing in found if failing), default=0.0)

    def lasting(self) -> dict[str, str]:
        """What has failed at least OFTEN times in a row, with the last exception: `card (KeyError)`; by the
        model, or by the kind of work that is about all."""
        told: dict[str, list[str]] = {}
        for (work, about), failing in list(self._failing.items()):
            if monotonic() - failing.at > NOT_TRIED:
                del self._failing[work, about]
            elif failing.times >= OFTEN:
                told.setdefault(about or work.value, []).append(f"{work.value} ({failing.error})")
        return {about: ", ".join(works) for about, works in told.items()}

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Forget the failures of any other model, because it is gone."""
        kept = {*names, ""}
        self._failing = {key: failing for key, failing in self._failing.items() if key[1] in kept}

    def _failed(self, work: WorkKind, about: str, error: Exception) -> None:
        FAILURES.labels(work.value).inc()
        failing = self._failing.setdefault((work, about), _Failing(Backoff(*self._pauses)))
        why = type(error).__name__
        if why != failing.error and isinstance(error, UserError):  # it has changed, or a server is away
            log.warning("work.postponed", work=work.value, about=about, why=error.text.key)
        elif why != failing.error:
            log.error("work.failed", work=work.value, about=about, why=repr(error)[:200], exc_info=error)
        failing.error, failing.at = why, monotonic()
        failing.times, failing.pause = failing.times + 1, failing.backoff.pause()
