"""The bot at work: the platforms, and the background jobs. `leader_jobs` are those of the process that leads,
`guest_jobs` those of every other one."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from bot.app.application import App
from bot.app.settings import Settings
from bot.core.ports import Gone, Leadership, Work
from bot.core.supervision import Job
from bot.platforms.shared.platform import Platform

JITTER_SECONDS = 5
MORNING = 8
"""O'clock, where the cluster is: the hour in which the report of the morning is sent."""
MISFIRE_SECONDS = 3600
"""So late a sweep or a report may still begin."""


Running = dict[asyncio.Task[Any], asyncio.Task[None]]
"""Jobs at work, by the task of the scheduler that waits for each."""
Announce = Callable[[bool], Awaitable[None]]
"""Tells the person at the terminal whether it leads."""


class AlwaysLeader:
    """Leads always: for a cluster that no other process can see, such as the simulator's."""

    holder = ""
    """Always empty: there is no other process to name."""

    async def lead(self, work: Work, otherwise: Work, gone: Gone | None = None) -> None:
        """Do `work`; it never ends."""
        await work()


ALONE = AlwaysLeader()


async def serve(
    settings: Settings,
    app: App,
    platforms: Iterable[Platform],
    leadership: Leadership = ALONE,
    *,
    interval: float | None = None,
    announce: Announce | None = None,
    gone: Gone | None = None,
) -> None:
    """Everything at once, until every platform has ended; without a platform, for ever.

    `interval` are the seconds between two sweeps; with `announce` nobody is listened to before it is known
    who leads; `gone` is told if we are a guest and the process that led has gone."""
    gc.freeze()  # what is loaded stays: the collector need not look at it again, 0.1 s each time
    for platform in platforms:
        app.supervisor.add_source(platform.supervisor.down)
    seconds = interval or settings.sweep_interval.total_seconds()
    known = asyncio.Event()
    working = asyncio.create_task(_work(settings, app, seconds, leadership, announce, gone, known))
    try:
        if announce:
            await known.wait()
        await _talk(app, platforms)
    finally:
        await end(working)


async def _work(
    settings: Settings,
    app: App,
    seconds: float,
    leadership: Leadership,
    announce: Announce | None,
    gone: Gone | None,
    known: asyncio.Event,
) -> None:
    """What the leader does, or a guest, for ever; `known` is set once that is known."""

    async def tell(leads: bool) -> None:
        if announce:
            await announce(leads)
        known.set()

    async def take_part(leads: bool, jobs: Mapping[str, Job]) -> None:
        async with asyncio.TaskGroup() as tasks:  # a terminal busy with a long command hears of it later
            tasks.create_task(tell(leads))
            tasks.create_task(app.supervisor.keep_all(**jobs))

    async def lead() -> None:
        await take_part(True, leader_jobs(settings, app, seconds))

    async def follow() -> None:
        await take_part(False, guest_jobs(app, seconds))

    await app.supervisor.keep("leadership", lambda: leadership.lead(lead, follow, gone))


def leader_jobs(settings: Settings, app: App, seconds: float) -> dict[str, Job]:
    """What only one process may do."""
    services = app.services

    async def schedule() -> None:
        await _schedule(settings, app, seconds)

    return {
        "cards": services.card_updater.run,
        "progress": services.progress.run,
        "queue": app.gpu_queue.follow,
        "alerts": services.alerts.run,
        "questions": services.pending_questions.run,
        "webui": services.web_ui.run,
        "schedule": schedule,
    }


def guest_jobs(app: App, seconds: float) -> dict[str, Job]:
    """What a process needs to answer commands while another one leads: it reads, and writes nothing."""

    async def look() -> None:
        while True:
            await app.look()
            await asyncio.sleep(seconds)

    services = app.services
    return {
        "cards": services.card_updater.run_as_guest,
        "progress": services.progress.run,
        "alerts": services.alerts.run_as_guest,
        "activity": look,
    }


async def _schedule(settings: Settings, app: App, seconds: float) -> None:
    """Sweeps, and the morning's report; for ever. A job that is late is done late, once."""
    scheduler = AsyncIOScheduler(
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": MISFIRE_SECONDS}
    )
    jitter = JITTER_SECONDS if seconds > 2 * JITTER_SECONDS else None
    running: Running = {}
    sweep, report = _cancellable(app.tick, running), _cancellable(app.report, running)
    scheduler.add_job(sweep, "interval", name="sweep", seconds=seconds, jitter=jitter)
    scheduler.add_job(
        report,
        "cron",
        name="report",
        hour=MORNING,
        minute="*",  # whatever came in between: it is sent once a day
        timezone=settings.timezone,
    )
    scheduler.start()
    try:
        await asyncio.Event().wait()
    finally:
        scheduler.pause()
        for job in running.values():
            job.cancel()
        if running:
            await asyncio.wait(list(running))
        scheduler.shutdown(wait=False)


def _cancellable(job: Job, running: Running) -> Job:
    """For a scheduler that reports what it has cancelled as failed, and does not wait for it."""

    async def run() -> None:
        waiting, task = asyncio.current_task(), asyncio.create_task(job())
        assert waiting is not None
        running[waiting] = task
        try:
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()
        finally:
            del running[waiting]

    return run


async def _talk(app: App, platforms: Iterable[Platform]) -> None:
    """Until every platform has ended, or one has failed; without a platform, for ever."""
    listening = [asyncio.create_task(platform.listen(app.dispatcher.handle)) for platform in platforms]
    try:
        if not listening:
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(listening, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        app.services.pending_questions.close()  # what waits then knows that it is not given up
        await end(*listening)


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel them, and wait until they have ended."""
    for task in tasks:
        if not task.cancelling():  # a second time would cut short how it ends
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
