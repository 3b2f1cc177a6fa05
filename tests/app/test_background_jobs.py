"""Two bots on one cluster: only one of them works in the background; and jobs that fail."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest

from bot.app import background_jobs, wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.chat.message import Message, Place, User
from bot.core.deployment.workload import Phase
from bot.core.ports import Gone, Leadership
from bot.engines.vllm.inference import VllmInference
from bot.simulator.clock import SpeedClock
from bot.simulator.cluster import SimulatedCluster
from bot.storage.ledger import SqlLedger
from tests.conftest import Chat, eventually, text_of

SPEED = 600.0
MINUTE = 60 / SPEED
"""Seconds that a minute takes."""


Work = Callable[[], Coroutine[None, None, None]]


class Baton:
    """Leadership among bots of one process: `holder` may be set to whoever is to lead next."""

    def __init__(self) -> None:
        self.holder = "first"
        self.changed = asyncio.Event()

    def give(self, name: str) -> None:
        self.holder = name
        self.changed.set()
        self.changed = asyncio.Event()

    def of(self, name: str) -> "Runner":
        return Runner(self, name)


class Runner:
    def __init__(self, baton: Baton, name: str) -> None:
        self._baton, self._name = baton, name

    @property
    def holder(self) -> str:
        return self._baton.holder

    async def lead(self, work: Work, otherwise: Work, gone: Gone | None = None) -> None:
        while True:
            changed = self._baton.changed
            doing = asyncio.create_task(work() if self._baton.holder == self._name else otherwise())
            try:
                await changed.wait()
            finally:
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)


@pytest.fixture
def clock() -> SpeedClock:
    return SpeedClock(SPEED)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(
        update={
            "database_url": type(settings.database_url)(f"sqlite:///{tmp_path}/ledger"),
            "idle_window": timedelta(minutes=10),
            "idle_warning": timedelta(minutes=2),
        }
    )


@pytest.fixture
async def life(cluster: SimulatedCluster) -> AsyncIterator[None]:
    living = asyncio.create_task(cluster.run())
    yield
    living.cancel()


@asynccontextmanager
async def bots(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: SpeedClock,
    chat: Chat,
    *leaderships: Leadership,
    terminal: Chat | None = None,
) -> AsyncIterator[list[App]]:
    """One for each leadership, all in the same chat; or the last in a terminal."""
    chats = [chat] * len(leaderships)
    if terminal:
        chats[-1] = terminal
    built = [wiring.build(settings, cluster, inference, one, clock) for one in chats]
    working = [
        asyncio.create_task(background_jobs.serve(settings, app, [], leadership, interval=MINUTE))
        for app, leadership in zip(built, leaderships, strict=True)
    ]
    try:
        yield built
        assert not any(task.done() for task in working)
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        for app in built:
            await app.close()


async def deploy(app: App, chat: Chat) -> None:
    place = Place("test", "C1", "1.0")
    replies = app.dispatcher.handle(Message("deploy tinyllama", User("ada", "ada", "en"), place))
    sent = await chat.post(place, await anext(replies))
    with pytest.raises(StopAsyncIteration):
        while True:
            await chat.edit(place, sent, await replies.asend(sent))


class OnlyChannel(Chat):
    """What another process has printed is out of its reach."""

    def reaches(self, place: Place) -> bool:
        return place.channel == "C2"


class Terminal(Chat):
    """Nobody else can edit what stands here."""

    def alone_shows(self, place: Place, message: str) -> bool:
        return message in self.messages


def warnings(chat: Chat) -> list[str]:
    return [
        name for name, history in chat.messages.items() if text_of(history[0]).key.startswith("idle.warn")
    ]


def asleep(cluster: SimulatedCluster) -> bool:
    return [workload.phase for workload in cluster.workloads()] == [Phase.ASLEEP]


async def gpu_minutes(settings: Settings) -> float:
    ledger = SqlLedger(settings.database_url.get_secret_value())
    try:
        return sum(use.gpu_seconds for _, use in await ledger.uses(date(2000, 1, 1))) / 60
    finally:
        await ledger.close()


async def test_a_warning_comes_once_and_the_ledger_is_written_once(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: SpeedClock,
    chat: Chat,
    life: None,
) -> None:
    baton = Baton()
    async with bots(settings, cluster, inference, clock, chat, baton.of("first"), baton.of("second")) as apps:
        begun = clock.now()
        await deploy(apps[1], chat)  # a command works in either
        await eventually(lambda: asleep(cluster))
        held = (clock.now() - begun).total_seconds() / 60
    assert len(warnings(chat)) == 1
    assert 0 < await gpu_minutes(settings) <= held


async def test_whoever_takes_over_goes_on_where_the_other_stopped(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: SpeedClock,
    chat: Chat,
    life: None,
) -> None:
    baton = Baton()
    async with bots(settings, cluster, inference, clock, chat, baton.of("first"), baton.of("second")) as apps:
        begun = clock.now()
        await deploy(apps[0], chat)
        await eventually(lambda: warnings(chat))
        baton.give("second")
        await eventually(lambda: asleep(cluster))
        baton.give("first")
        await eventually(lambda: text_of(chat.messages[warnings(chat)[0]][-1]).key.startswith("idle.slept"))
        held = (clock.now() - begun).total_seconds() / 60
    assert len(warnings(chat)) == 1
    assert 0 < await gpu_minutes(settings) <= held


async def test_a_bug_in_one_job_stops_neither_the_others_nor_the_bot(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: SpeedClock,
    chat: Chat,
    life: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bots(settings, cluster, inference, clock, chat, background_jobs.ALONE) as [app]:
        started = []

        async def broken(*_: object) -> None:
            started.append(1)
            raise RuntimeError("a bug")

        monkeypatch.setattr(type(app.services.web_ui), "run", broken)
        await eventually(lambda: cluster.nodes())
        await deploy(app, chat)
        await eventually(lambda: asleep(cluster))


async def test_a_guest_shows_alerts_but_does_not_manage_them(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: SpeedClock,
    chat: Chat,
    life: None,
) -> None:
    baton = Baton()
    async with bots(settings, cluster, inference, clock, chat, baton.of("first"), baton.of("second")) as apps:
        await deploy(apps[0], chat)
        await eventually(lambda: [w.phase for w in cluster.workloads()] == [Phase.READY])
        cluster.fail("tinyllama", "cuda_oom")
        await eventually(lambda: apps[1].alerts.open())
        assert [alert.about for alert in apps[1].alerts.open()] == ["tinyllama"]
        place = Place("test", "C1", "2.0")
        told = []
        for line in ("alerts", "alerts ack tinyllama"):
            message = Message(line, User("grace", "grace", "en"), place)
            told += [reply async for reply in apps[1].dispatcher.handle(message)]
        assert [text_of(reply).key for reply in told] == ["alerts.title", "alerts.guest"]


async def test_a_guest_keeps_the_cards_in_its_own_terminal_true_and_writes_nothing(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: SpeedClock, life: None
) -> None:
    baton, channel, terminal = Baton(), OnlyChannel(), Terminal()
    leaderships = baton.of("first"), baton.of("second")
    async with bots(settings, cluster, inference, clock, channel, *leaderships, terminal=terminal) as apps:
        await deploy(apps[1], terminal)
        [card] = terminal.messages.values()
        await eventually(lambda: text_of(card[-1]).key == "card.ready")
        await eventually(lambda: asleep(cluster))
        await eventually(lambda: text_of(card[-1]).key == "card.asleep")
        [workload] = cluster.workloads()
        assert workload.record.announced_news == ""  # that is for whoever leads to write
    assert set(channel.messages) == set(warnings(channel))
    assert len(terminal.messages) == 1


async def test_a_sweep_that_is_cut_short_is_no_error(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: SpeedClock,
    chat: Chat,
    life: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweeping = asyncio.Event()

    async def slow() -> None:
        sweeping.set()
        await asyncio.Event().wait()

    async with bots(settings, cluster, inference, clock, chat, background_jobs.ALONE) as [app]:
        monkeypatch.setattr(app.services.activity, "sweep", slow)
        await sweeping.wait()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("apscheduler")] == []


async def test_a_guest_leaves_an_unreadable_state_to_whoever_leads(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: SpeedClock,
    chat: Chat,
    life: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await cluster.save_state("{broken")
    looks: list[int] = []
    set_aside: list[str] = []
    load = cluster.load_state

    async def counting() -> str:
        looks.append(1)
        return await load()

    async def aside(text: str) -> None:
        set_aside.append(text)

    monkeypatch.setattr(cluster, "load_state", counting)
    monkeypatch.setattr(cluster, "set_state_aside", aside)
    baton = Baton()
    async with bots(settings, cluster, inference, clock, chat, baton.of("second")):
        await eventually(lambda: len(looks) > 2)
        assert set_aside == []
        baton.give("second")
        await eventually(lambda: set_aside == ["{broken"])


async def test_a_terminal_that_is_busy_starts_its_jobs_and_hears_of_them_later(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: SpeedClock,
    chat: Chat,
    life: None,
) -> None:
    told: list[bool] = []
    busy = asyncio.Event()

    async def announce(leads: bool) -> None:
        if told:
            busy.set()
            await asyncio.Event().wait()
        told.append(leads)

    baton, app = Baton(), wiring.build(settings, cluster, inference, chat, clock)
    serving = background_jobs.serve(settings, app, [], baton.of("second"), interval=MINUTE, announce=announce)
    working = asyncio.create_task(serving)
    try:
        await eventually(lambda: told == [False])
        baton.give("second")
        await busy.wait()
        await deploy(app, chat)
        await eventually(lambda: asleep(cluster))
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await app.close()
