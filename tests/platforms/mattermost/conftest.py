"""The whole bot on the simulator, on a Mattermost server that speaks the wire protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from bot.app import background_jobs, wiring
from bot.app.http_server import HttpServer
from bot.app.settings import Settings
from bot.engines.vllm.inference import VllmInference
from bot.platforms.mattermost.adapter import Mattermost
from bot.platforms.shared.messengers import Messengers
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock, PassTime, eventually
from tests.fakes.mattermost import COMMAND_TOKEN, TOKEN, FakeMattermost

ADMINS = "c" * 26
"""A channel whose members are admins where it is private."""


async def soon(true: Callable[[], object]) -> None:
    """Wait for what takes a moment."""
    await eventually(true)


@pytest_asyncio.fixture
async def server_url() -> AsyncIterator[tuple[FakeMattermost, str]]:
    fake = FakeMattermost()
    url = await fake.start()
    for name in ("ada", "eve"):
        fake.person(name)
    fake.person("grace", roles="system_user system_admin")
    fake.channel("c1", members=[fake.person("bob", locale="de")])
    yield fake, url
    await fake.stop()


@pytest.fixture
def chat(server_url: tuple[FakeMattermost, str]) -> FakeMattermost:
    return server_url[0]


class Bot:
    """A running bot; `restart` is a new process with the same cluster."""

    def __init__(
        self, settings: Settings, url: str, cluster: SimulatedCluster, inference: VllmInference, clock: Clock
    ) -> None:
        self.settings, self.cluster = settings, cluster
        self._url, self._inference, self._clock = url, inference, clock
        self.callback_url = ""

    async def start(self, chat: FakeMattermost) -> None:
        phrases = wiring.phrasebook(self.settings)
        self.mattermost = Mattermost(
            phrases,
            "en",
            self._url,
            TOKEN,
            callback_url=self.callback_url,
            command_tokens={"t1": COMMAND_TOKEN},
            role_members=[ADMINS],
            heartbeat=0.4,
        )
        messengers = Messengers([self.mattermost])
        self.app = wiring.build(
            self.settings,
            self.cluster,
            self._inference,
            messengers,
            self._clock,
            self.mattermost.admin_groups,
        )
        self._running = asyncio.create_task(background_jobs.serve(self.settings, self.app, [self.mattermost]))
        await soon(lambda: chat.sockets and self.mattermost.ready)

    def endpoints(self) -> dict[str, Any]:
        """What the server calls; the same after a restart."""

        async def endpoint(request: web.Request) -> web.StreamResponse:
            return await self.mattermost.endpoint(request)

        return {f"/mattermost/{what}": endpoint for what in ("command", "action", "dialog")}

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


@pytest_asyncio.fixture
async def bot(
    settings: Settings,
    server_url: tuple[FakeMattermost, str],
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
) -> AsyncIterator[Bot]:
    researchers = frozenset(user for user in server_url[0].users if user.startswith(("ada", "bob")))
    roles = {"researchers": researchers, "admins": settings.admins | {ADMINS}}
    running = Bot(settings.model_copy(update=roles), server_url[1], cluster, inference, clock)
    await running.start(server_url[0])
    yield running
    await running.stop()


def who(chat: FakeMattermost, name: str) -> str:
    return next(user for user, info in chat.users.items() if info["username"] == name)


async def said(chat: FakeMattermost, thread: str, words: str, channel: str = "c1") -> dict[str, Any]:
    """A post of the thread that says so."""
    await soon(lambda: any(words in post["message"] for post in chat.posted(channel, thread)))
    return next(post for post in chat.posted(channel, thread) if words in post["message"])


async def deployed(chat: FakeMattermost, pass_time: PassTime, name: str = "ada") -> dict[str, Any]:
    asked = chat.say(who(chat, name), "@llm deploy tinyllama")
    await soon(lambda: chat.posted("c1", asked))
    await pass_time(200)
    return await said(chat, asked, "is ready" if name != "bob" else "ist bereit")


@pytest_asyncio.fixture
async def called_bot(
    settings: Settings,
    server_url: tuple[FakeMattermost, str],
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
) -> AsyncIterator[Bot]:
    """A bot that Mattermost can call."""
    fake, url = server_url
    researchers = frozenset({who(fake, "ada"), who(fake, "bob")})
    roles = {"researchers": researchers}
    bot = Bot(settings.model_copy(update=roles), url, cluster, inference, clock)
    health = HttpServer("127.0.0.1", 0, ready=lambda: True, down=list, endpoints=bot.endpoints())
    await health.start()
    bot.callback_url = fake.bot_url = f"http://127.0.0.1:{health.port}"
    await bot.start(fake)
    yield bot
    await bot.stop()
    await health.stop()


def attachments(post: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of a post, or of what one person was told."""
    found: list[dict[str, Any]] = post.get("props", post).get("attachments", [])
    return found
