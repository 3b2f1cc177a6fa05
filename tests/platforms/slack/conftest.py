"""The whole bot on the simulator, in a Slack workspace that speaks the wire protocol."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from bot import app
from bot.platforms.messengers import Messengers
from bot.platforms.slack.adapter import Slack
from tests.conftest import eventually
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, FakeSlack


@pytest_asyncio.fixture
async def workspace(monkeypatch) -> AsyncIterator[FakeSlack]:
    """People, a channel, and nothing refused at the end."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)  # the SDK would ask it for addresses on loopback, too
    fake = FakeSlack()
    fake.url = await fake.start()
    fake.channel("C1", members=["UADA"])
    for user in ("UADA", "UBOB", "UEVE", "UGRACE"):
        fake.person(user)
    yield fake
    await fake.stop()
    assert fake.invalid == []


async def soon(true) -> None:
    """Wait for what takes Slack a moment."""
    await eventually(true, 12)


class Bot:
    """A running bot; `restart` is a new process with the same cluster."""

    def __init__(self, settings, fake, cluster, inference, clock) -> None:
        self._settings, self._fake, self._cluster = settings, fake, cluster
        self._inference, self._clock = inference, clock
        self.named = {"UGRACE"}

    async def start(self) -> None:
        self.slack = Slack(
            app.phrasebook(self._settings),
            "en",
            BOT_TOKEN,
            app_token=APP_TOKEN,
            url=self._fake.url,
            named=self._settings.admins | self._settings.researchers,
            changes=self._cluster.changes,
            ping=0.3,
        )
        messengers = Messengers([self.slack])
        self.app = app.build(self._settings, self._cluster, self._inference, messengers, self._clock)
        self._running = asyncio.create_task(app.serve(self._settings, self.app, [self.slack]))
        await self._fake.connected(2)

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def restart(self) -> None:
        await self.stop()
        await self.start()


@pytest_asyncio.fixture
async def bot(settings, workspace, cluster, inference, clock) -> AsyncIterator[Bot]:
    roles = {"admins": frozenset({"UGRACE"}), "researchers": frozenset({"UADA", "UBOB"})}
    running = Bot(settings.model_copy(update=roles), workspace, cluster, inference, clock)
    await running.start()
    yield running
    await running.stop()
