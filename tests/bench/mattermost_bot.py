"""A process for the bench: the whole bot on the simulator, in Mattermost at MATTERMOST_URL."""

import asyncio
import logging

import structlog

from bot import app, chats, serving, worlds
from bot.config import Settings
from bot.platforms.messengers import Messengers


async def main() -> None:
    """Everything, as in service."""
    settings = Settings(_env_file=None)
    async with worlds.simulated(1.0) as (cluster, clock):
        chat = chats.mattermost(settings)
        built = app.build(settings, cluster, app.inference_of(settings), Messengers([chat]), clock)
        await serving.serve(settings, built, [chat])


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main())
