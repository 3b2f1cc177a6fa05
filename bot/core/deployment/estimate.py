"""How long a start still takes, by what the last starts took. Waiting for a node is no part of it: nobody
knows that."""

from datetime import datetime, timedelta
from statistics import median

from bot.core.chat.text import Text, t
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Workload
from bot.core.ports import Progress


def time_left(workload: Workload, progress: Progress | None, now: datetime) -> timedelta | None:
    """How long until it is ready; None rather than a wrong figure. During one start it never grows.

    It is known while the image is pulled, if it has been pulled before, and while its engine loads: a start
    downloads the weights only if none has been learned, or its log tells how long that takes."""
    loading, pulling = _usual_loading(workload.record), _usual_pulling(workload.record)
    told = progress and (progress.left or progress.phase is Phase.DOWNLOADING)
    if not loading or workload.cause or workload.ends or told:
        return None
    passed = max(timedelta(0), now - workload.since)
    if workload.phase is Phase.LOADING and passed < loading:
        return loading - passed
    if workload.phase is Phase.PULLING and pulling and passed < pulling:
        return pulling - passed + loading
    return None


def left_lines(workload: Workload, progress: Progress | None, now: datetime) -> tuple[Text, ...]:
    """How long until it is ready, and the starts that this rests on; nothing if that is not known."""
    left = time_left(workload, progress, now)
    if left is None:
        return ()
    count, span = _basis(workload.record)
    if workload.phase is Phase.PULLING:
        pulling = _usual_pulling(workload.record)
        return (t("left.pulling", left=left, count=count, span=span, pulling=pulling),)
    return (t("left.loading", left=left, count=count, span=span),)


def usual_lines(record: Record) -> tuple[Text, ...]:
    """How long it loads when it starts again, and the starts that this rests on; nothing without one."""
    usual = _usual_loading(record)
    if usual is None:
        return ()
    count, span = _basis(record)
    return (t("left.usual", usual=usual, count=count, span=span),)


def _usual_loading(record: Record) -> timedelta | None:
    seconds = [times.loading for times in record.start_times]
    return timedelta(seconds=median(seconds)) if seconds else None


def _usual_pulling(record: Record) -> timedelta | None:
    seconds = [times.pulling for times in record.start_times if times.pulling]
    return timedelta(seconds=median(seconds)) if seconds else None


def _basis(record: Record) -> tuple[int, Text | timedelta]:
    """How many starts there are, and how long they loaded."""
    seconds = [round(times.loading) for times in record.start_times]
    shortest, longest = timedelta(seconds=min(seconds)), timedelta(seconds=max(seconds))
    span = t("left.span", shortest=shortest, longest=longest) if shortest < longest else longest
    return len(seconds), span
