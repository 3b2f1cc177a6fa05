"""A process for the bench: the whole bot on the simulator, in Mattermost at MATTERMOST_URL."""

import asyncio
import logging

import structlog

from bot.app import background_jobs, clusters, platform_factory, wiring
from bot.app.settings import read_settings
from bot.platforms.shared.messengers import Messengers


async def main() -> None:
    """Everything, as in service."""
    settings, platform_settings = read_settings()
    async with clusters.simulated(1.0) as (cluster, clock):
        chats = platform_factory.create(settings, platform_settings, cluster.changes)
        built = wiring.build(settings, cluster, wiring.inference_of(settings), Messengers(chats), clock)
        await background_jobs.serve(settings, built, chats)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main())
