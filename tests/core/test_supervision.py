"""A job that fails starts again, and is reported only while it does not work."""

import asyncio
from itertools import pairwise

import pytest

from bot.core.supervision import RestartPace, Supervisor
from tests.conftest import eventually

QUICK = RestartPace(first_pause=0.01, longest_pause=0.04, steady=0.3, lasting=0.1)


class Flaky:
    """Fails as long as it is told to; then it works for ever."""

    def __init__(self) -> None:
        self.broken = True
        self.moments: list[float] = []

    @property
    def starts(self) -> int:
        return len(self.moments)

    async def run(self) -> None:
        self.moments.append(asyncio.get_running_loop().time())
        if self.broken:
            raise RuntimeError("a bug")
        await asyncio.Event().wait()


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_job_that_keeps_failing_is_down_until_it_works_for_a_while() -> None:
    supervisor, job = Supervisor(QUICK), Flaky()
    keeping = asyncio.create_task(supervisor.keep("cards", job.run))
    await eventually(lambda: job.starts > 1)
    await eventually(lambda: supervisor.down() == ["cards"])
    job.broken = False
    await eventually(lambda: not supervisor.down())
    starts = job.starts
    assert not keeping.done()
    await ended(keeping)
    assert job.starts == starts and supervisor.down() == []


async def test_one_failure_is_no_news() -> None:
    supervisor, job = Supervisor(RestartPace(first_pause=0.01, steady=0.05, lasting=60)), Flaky()
    keeping = asyncio.create_task(supervisor.keep("cards", job.run))
    await eventually(lambda: job.starts)
    job.broken = False
    assert supervisor.down() == []
    await ended(keeping)


async def test_a_bug_in_one_job_stops_no_other() -> None:
    supervisor, broken, fine = Supervisor(QUICK), Flaky(), Flaky()
    fine.broken = False
    keeping = asyncio.create_task(supervisor.keep_all(broken=broken.run, fine=fine.run))
    await eventually(lambda: broken.starts > 3)
    assert fine.starts == 1 and not keeping.done()
    await ended(keeping)


async def test_pauses_grow() -> None:
    supervisor, job = Supervisor(RestartPace(first_pause=0.01, longest_pause=60.0)), Flaky()
    keeping = asyncio.create_task(supervisor.keep("cards", job.run))
    await eventually(lambda: job.starts == 6)
    await ended(keeping)
    pauses = [later - sooner for sooner, later in pairwise(job.moments)]
    shortest = [0.008 * 2**number for number in range(5)]  # 0.01, 0.02, 0.04, 0.08, 0.16 s, less a fifth
    assert all(pause >= least for pause, least in zip(pauses, shortest, strict=True))


async def test_what_ends_by_itself_is_not_started_again() -> None:
    supervisor, starts = Supervisor(QUICK), []

    async def job() -> None:
        starts.append(1)

    await supervisor.keep("once", job)
    assert starts == [1]


async def test_others_report_through_it() -> None:
    supervisor = Supervisor()
    supervisor.add_source(lambda: ("pods",))
    assert supervisor.down() == ["pods"]


async def test_a_cancelled_job_has_ended_when_its_keeper_has() -> None:
    supervisor, begun = Supervisor(QUICK), asyncio.Event()
    events: list[str] = []

    async def job() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            events.append("ended")

    keeping = asyncio.create_task(supervisor.keep("slow to end", job))
    await begun.wait()
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert events == ["ended"]
