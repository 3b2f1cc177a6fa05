"""A cluster, a clock, people, and `ask("deploy qwen2.5-7b", who="ada")`."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest
import pytest_asyncio

from bot.app import wiring
from bot.app.application import App
from bot.app.clock import SystemClock
from bot.app.settings import Settings
from bot.core.chat.languages import LOCALES
from bot.core.chat.message import Message, Place, Turn, User
from bot.core.chat.reply import Reply
from bot.core.chat.text import Phrasebook, Text
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from bot.simulator.server import SimulatedServer
from tests.real.cluster import RealCluster
from tests.real.clusters import some_cluster
from tests.real.control_plane import ControlPlane
from tests.real.missing import needed

hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")  # a busy machine is no failure

THREAD = Place("test", "C1", "1.0")


class Clock:
    """Stands still until it is told to go on; sleepers wake when their time has come."""

    def __init__(self) -> None:
        self.time = datetime(2030, 1, 1, 12, tzinfo=UTC)
        self._sleepers: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + timedelta(seconds=seconds), woken))
        await woken

    def advance(self, **delta: float) -> None:
        self.time += timedelta(**delta)
        due = [woken for when, woken in self._sleepers if when <= self.time]
        self._sleepers = [(when, woken) for when, woken in self._sleepers if when > self.time]
        for woken in due:
            if not woken.done():
                woken.set_result(None)


class Chat:
    """A Messenger that remembers every message as it looks now, and how it looked before."""

    def __init__(self) -> None:
        self.messages: dict[str, list[Reply]] = {}
        self.turns: list[Turn] = []

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        message = f"m{len(self.messages) + 1}"
        self.messages[message] = [reply]
        return message

    async def edit(self, place: Place, message: str, reply: Reply, locale: str = "") -> None:
        self.messages[message].append(reply)

    async def history(self, place: Place) -> list[Turn]:
        return self.turns

    async def resume(self, place: Place, message: str) -> bool:
        return True

    async def find(self, place: Place, key: str) -> str:
        found = [name for name, history in self.messages.items() if history[0].key == key]
        return found[0] if found else ""

    def reaches(self, place: Place) -> bool:
        return True

    def alone_shows(self, place: Place, message: str) -> bool:
        return False

    def away(self) -> list[str]:
        return []

    @property
    def last(self) -> Reply:
        return list(self.messages.values())[-1][-1]


class Ask(Protocol):
    """Type a line as somebody in a thread; every reply to it, in the order in which it was shown."""

    async def __call__(
        self, text: str, who: str = "ada", locale: str = "en", place: Place = THREAD
    ) -> list[Reply]: ...


class Say(Protocol):
    """A text, which must be there, as a person reads it in their language."""

    def __call__(self, text: Text | None, language: str = "en") -> str: ...


PassTime = Callable[[float], Coroutine[None, None, None]]
"""Let that many simulated seconds pass, one by one."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chat() -> Chat:
    return Chat()


@pytest.fixture
def settings() -> Settings:
    return Settings(
        _env_file=None,
        admins=frozenset({"grace"}),
        researchers=frozenset({"ada", "bob"}),
        namespace="demo",
        database_url="sqlite://",
    )


@pytest_asyncio.fixture
async def cluster(clock: Clock) -> SimulatedCluster:
    return SimulatedCluster(clock)


@pytest_asyncio.fixture
async def server(cluster: SimulatedCluster) -> AsyncIterator[SimulatedServer]:
    server = SimulatedServer(cluster, pause=0.0)
    cluster.url = await server.start()
    yield server
    await server.stop()


@pytest.fixture
def patience() -> tuple[float, float]:
    """Seconds that the bot waits for the first token of an answer, and for each one after it."""
    return PATIENCE, PATIENCE


@pytest_asyncio.fixture
async def inference(server: SimulatedServer, patience: tuple[float, float]) -> AsyncIterator[VllmInference]:
    first_token, between_tokens = patience
    inference = VllmInference(first_token=first_token, between_tokens=between_tokens)
    yield inference
    await inference.close()


@pytest_asyncio.fixture
async def bot(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, chat: Chat, clock: Clock
) -> AsyncIterator[App]:
    """The whole bot on the simulator, with its cards and its queue at work."""
    built = wiring.build(settings, cluster, inference, chat, clock)
    working = [
        asyncio.create_task(work())
        for work in (built.services.card_updater.run, built.services.progress.run, built.gpu_queue.follow)
    ]
    yield built
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    await built.close()


@pytest.fixture
def ask(bot: App, chat: Chat) -> Ask:
    """Type a line as somebody; every reply, with each posted or edited like a platform does."""

    async def ask(text: str, who: str = "ada", locale: str = "en", place: Place = THREAD) -> list[Reply]:
        message = Message(text, User(who, who, locale), place)
        replies = bot.dispatcher.handle(message)
        sent: str | None = None
        seen: list[Reply] = []
        try:
            reply = await anext(replies)
            while True:
                if sent is None:
                    sent = await chat.post(place, reply)
                else:
                    await chat.edit(place, sent, reply)
                seen.append(reply)
                reply = await replies.asend(sent)
        except StopAsyncIteration:
            return seen

    return ask


@pytest.fixture
def pass_time(clock: Clock, cluster: SimulatedCluster) -> PassTime:
    """Let simulated time pass in steps, as it does; what waits for it gets its turn."""

    async def pass_time(seconds: float) -> None:
        for _ in range(int(seconds)):
            clock.advance(seconds=1)
            cluster.step()
            await settle()

    return pass_time


def text_of(reply: Reply) -> Text:
    """What it says; it must say something."""
    assert reply.text
    return reply.text


async def settle() -> None:
    """Let every task that can go on go on; no time passes."""
    for _ in range(20):
        await asyncio.sleep(0)


PATIENCE = 240.0
"""Seconds that a test waits for what must come true: a busy machine is no failure."""


async def eventually(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def phrases() -> Phrasebook:
    return Phrasebook(LOCALES, SystemClock().now)


@pytest.fixture(scope="session")
def say(phrases: Phrasebook) -> Say:
    def say(text: Text | None, language: str = "en") -> str:
        assert text
        return phrases.say(text, language)

    return say


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A real control plane; needs KUBEBUILDER_ASSETS."""
    binaries = needed("KUBEBUILDER_ASSETS", "no real control plane to test against")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        plane = ControlPlane(Path(binaries), Path(folder))
        try:
            plane.start()
            yield plane
        finally:
            plane.stop()


@pytest.fixture(scope="session")
def vllm_binary() -> Path:
    """The vllm command; needs VLLM_BIN."""
    return Path(needed("VLLM_BIN", "no real vLLM to test against"))


@pytest.fixture(scope="session")
def real_cluster(vllm_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A cluster whose nodes really run pods: the bot's image is on them, and engines are a real vLLM."""
    with some_cluster(vllm_binary, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
