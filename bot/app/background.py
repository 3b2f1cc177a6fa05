"""The bot at work: the scheduler, what goes on in the background, and the platforms."""

import asyncio
import gc
from collections.abc import Awaitable, Iterable

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from bot.app.application import App
from bot.app.settings import Settings
from bot.platforms.shared.platform import Platform

JITTER_SECONDS = 5
MORNING = 8
"""O'clock, where the cluster is."""


async def serve(
    settings: Settings, app: App, platforms: Iterable[Platform], *, interval: float | None = None
) -> None:
    """Everything at once, until every platform has ended; without a platform, for ever."""
    gc.freeze()  # what is loaded stays: the collector need not look at it again, 0.1 s each time
    scheduler = AsyncIOScheduler()
    seconds = interval or settings.sweep_interval.total_seconds()
    jitter = JITTER_SECONDS if seconds > 2 * JITTER_SECONDS else None
    scheduler.add_job(app.tick, "interval", seconds=seconds, coalesce=True, max_instances=1, jitter=jitter)
    scheduler.add_job(app.services.reports.morning, "cron", hour=MORNING, timezone=settings.timezone)
    scheduler.start()
    background = [
        asyncio.create_task(app.services.card_updater.run()),
        asyncio.create_task(app.services.progress.run()),
        asyncio.create_task(app.gpu_queue.follow()),
        asyncio.create_task(app.alerts.run()),
        asyncio.create_task(app.services.pending_questions.run()),
        asyncio.create_task(app.services.web_ui.run()),
    ]
    listening = [asyncio.create_task(p.listen(app.dispatcher.handle)) for p in platforms]
    try:
        talk = asyncio.gather(*listening) if listening else asyncio.Event().wait()
        await _first_to_end(talk, background)
    finally:
        for task in (*background, *listening):
            if not task.cancelling():  # a second time would cut short how it ends
                task.cancel()
        await asyncio.gather(*background, *listening, return_exceptions=True)
        scheduler.shutdown(wait=False)


async def _first_to_end(talk: Awaitable[object], background: list[asyncio.Task[None]]) -> None:
    """Until the talk ends; a background task never does, so if one does, its error is raised."""
    talking = asyncio.ensure_future(talk)
    try:
        done, _ = await asyncio.wait({talking, *background}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in background:  # first: what waits then knows that it is not given up
            task.cancel()
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
