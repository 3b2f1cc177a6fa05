"""A process for the bench: the bot on the simulator, or a bare Bolt app, in a workspace at SLACK_API_URL."""

import asyncio
import logging
import os
import sys
from typing import Any

import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.async_app import AsyncAck, AsyncRespond
from slack_sdk.web.async_client import AsyncWebClient

from bot.app import background_jobs, platform_factory, wiring
from bot.app.settings import read_settings
from bot.core.ports import Endpoint
from bot.platforms.shared.messengers import Messengers
from bot.simulator.clock import SpeedClock
from bot.simulator.cluster import SimulatedCluster
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN

SPEED = 600.0


class OneModel(SimulatedCluster):
    """The simulator, but its models answer on another server."""

    async def endpoint(self, name: str) -> Endpoint:
        return Endpoint(os.environ["MODEL_URL"], name, "key")


async def ours() -> None:
    """Everything, as in service."""
    clock = SpeedClock(SPEED)
    cluster = OneModel(clock)
    living = asyncio.create_task(cluster.run())
    settings, platform_settings = read_settings()
    settings = settings.model_copy(update={"admins": frozenset({"UADA"})})
    chats = platform_factory.create(settings, platform_settings, cluster.changes)
    built = wiring.build(settings, cluster, wiring.inference_of(settings), Messengers(chats), clock)
    await background_jobs.serve(settings, built, chats)
    await living


async def bare() -> None:
    """The least that answers a command."""
    client = AsyncWebClient(BOT_TOKEN, os.environ["SLACK_API_URL"])
    bolt = AsyncApp(client=client, request_verification_enabled=False)

    @bolt.command("/llm")
    async def echo(ack: AsyncAck, body: dict[str, Any], respond: AsyncRespond) -> None:
        await ack()
        await respond(body["text"])

    await AsyncSocketModeHandler(bolt, APP_TOKEN).start_async()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(ours() if sys.argv[1] == "ours" else bare())
