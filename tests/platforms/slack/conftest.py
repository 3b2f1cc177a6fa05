"""The whole bot on the simulator, in a Slack workspace that speaks the wire protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from bot.app import background_jobs, wiring
from bot.app.settings import Settings
from bot.engines.vllm.inference import VllmInference
from bot.platforms.shared.messengers import Messengers
from bot.platforms.slack.adapter import Slack
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock, PassTime, eventually
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, FakeSlack, words


@pytest_asyncio.fixture
async def workspace(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeSlack]:
    """People, a channel, and nothing refused at the end."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)  # the SDK would ask it for addresses on loopback, too
    fake = FakeSlack()
    await fake.start()
    fake.channel("C1", members=["UADA"])
    for user in ("UADA", "UBOB", "UEVE", "UGRACE"):
        fake.person(user)
    yield fake
    await fake.stop()
    assert fake.invalid == []


async def soon(true: Callable[[], object]) -> None:
    """Wait for what takes Slack a moment."""
    await eventually(true)


class Bot:
    """A running bot; `restart` is a new process with the same cluster."""

    def __init__(
        self,
        settings: Settings,
        fake: FakeSlack,
        cluster: SimulatedCluster,
        inference: VllmInference,
        clock: Clock,
    ) -> None:
        self.settings, self._fake, self.cluster = settings, fake, cluster
        self.inference, self._clock = inference, clock
        self.phrases = wiring.phrasebook(settings)

    async def start(self) -> None:
        self.slack = Slack(
            self.phrases,
            "en",
            BOT_TOKEN,
            app_token=APP_TOKEN,
            url=self._fake.url,
            role_members=self.settings.admins | self.settings.researchers,
            changes=self.cluster.changes,
            ping=0.3,
        )
        messengers = Messengers([self.slack])
        self.app = wiring.build(self.settings, self.cluster, self.inference, messengers, self._clock)
        self._running = asyncio.create_task(background_jobs.serve(self.settings, self.app, [self.slack]))
        await self._fake.connected(2)

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def restart(self) -> None:
        await self.stop()
        await self.start()


@pytest_asyncio.fixture
async def bot(
    settings: Settings,
    workspace: FakeSlack,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
) -> AsyncIterator[Bot]:
    roles = {"admins": frozenset({"UGRACE"}), "researchers": frozenset({"UADA", "UBOB"})}
    running = Bot(settings.model_copy(update=roles), workspace, cluster, inference, clock)
    await running.start()
    yield running
    await running.stop()


async def deployed(
    workspace: FakeSlack,
    pass_time: PassTime,
    line: str = "deploy tinyllama",
    user: str = "UADA",
    ready: str = "is ready",
) -> dict[str, Any]:
    """A model that is ready, and its card."""
    before = len(workspace.posted("C1"))
    await workspace.command(user, line)
    await soon(lambda: len(workspace.posted("C1")) > before)
    card = workspace.posted("C1")[-1]
    await soon(lambda: card["history"])
    await pass_time(200)
    await soon(lambda: ready in words(card))
    return card


async def answered(workspace: FakeSlack, thread: str, messages: int = 1) -> dict[str, Any]:
    """The last message of a thread, once it is a whole answer."""
    await soon(lambda: len(workspace.posted("C1", thread)) == messages)
    answer = workspace.posted("C1", thread)[-1]
    await soon(lambda: "tokens/s" in words(answer))
    return answer
