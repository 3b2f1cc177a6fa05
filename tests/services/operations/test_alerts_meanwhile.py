"""What admins decide while the cluster or the chat takes its time is kept, and shown."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.core.alerts.stored import read_state
from bot.core.chat.message import Message, User
from bot.core.chat.reply import Reply
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import THREAD, Chat, Clock, PassTime, Say


class Held:
    """Calls of a method wait, from the one with this number on, until they may go on."""

    def __init__(self, inner: Callable[..., Awaitable[Any]], number: int) -> None:
        self._inner, self._left = inner, number
        self.begun, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, *arguments: Any) -> Any:
        self._left -= 1
        if self._left <= 0:
            self.begun.set()
            await self.may_go_on.wait()
        return await self._inner(*arguments)


Build = Callable[[], App]


@pytest.fixture
def build(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, chat: Chat, clock: Clock
) -> Build:
    """A bot that knows where admins read; another one is the same after a restart."""
    told = settings.model_copy(update={"admin_channel": "test:admins"})
    return lambda: wiring.build(told, cluster, inference, chat, clock)


async def type_line(bot: App, line: str) -> list[Reply]:
    """Type it as an admin; the replies."""
    return [reply async for reply in bot.dispatcher.handle(Message(line, User("grace", "Grace"), THREAD))]


@pytest_asyncio.fixture
async def bot(build: Build, pass_time: PassTime) -> App:
    """A bot, and a model that has failed."""
    built = build()
    await type_line(built, "deploy tinyllama name=fail-1")
    await pass_time(200)
    return built


def shown(chat: Chat, say: Say) -> list[str]:
    """All that the messages of alerts say now."""
    messages = [history[-1] for history in chat.messages.values() if history[-1].key]
    return [say(text) for message in messages for text in (message.text, *message.lines) if text]


async def test_what_an_admin_silences_while_alerts_are_saved_is_saved_next(
    bot: App, cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(cluster.save_state, 2)  # the one after the alert is posted
    monkeypatch.setattr(cluster, "save_state", held)
    looking = asyncio.create_task(bot.alerts.look())
    await held.begun.wait()
    bot.alerts.silence("1", timedelta(days=7))
    held.may_go_on.set()
    await looking
    await bot.alerts.look()
    assert list(read_state(await cluster.load_state()).silenced) == ["failed:fail-1"]


async def test_what_an_admin_decides_before_the_first_look_is_about_what_was_told_before(
    bot: App, build: Build, cluster: SimulatedCluster
) -> None:
    await bot.alerts.look()
    again = build()
    await type_line(again, "alerts ack 1")
    await again.alerts.look()
    [alert] = read_state(await cluster.load_state()).alerts.values()
    assert (alert.number, alert.by) == (1, "Grace")
    third = build()
    await third.alerts.look()
    assert [alert.by for alert in third.alerts.open()] == ["Grace"]


@pytest.mark.parametrize("call", ["post", "edit"])
async def test_who_takes_care_of_it_while_its_message_is_written_is_shown_next(
    bot: App, chat: Chat, monkeypatch: pytest.MonkeyPatch, say: Say, call: str
) -> None:
    if call == "edit":
        await bot.alerts.look()
        bot.alerts.acknowledge("1", "Ada")
    else:
        bot.alerts.compare()
    held = Held(getattr(chat, call), 1)
    monkeypatch.setattr(chat, call, held)
    looking = asyncio.create_task(bot.alerts.look())
    await held.begun.wait()
    bot.alerts.acknowledge("1", "Grace")
    held.may_go_on.set()
    await looking
    await bot.alerts.look()
    assert "taken care of by Grace" in shown(chat, say)
    before = sum(map(len, chat.messages.values()))
    await bot.alerts.look()
    assert sum(map(len, chat.messages.values())) == before, "it is shown once"


async def test_without_a_place_messages_of_before_are_forgotten_and_what_is_over_too(
    bot: App,
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    chat: Chat,
    clock: Clock,
) -> None:
    await bot.alerts.look()
    elsewhere = wiring.build(settings, cluster, inference, chat, clock)
    await elsewhere.alerts.look()
    assert [alert.about for alert in elsewhere.alerts.open()] == ["fail-1"]
    await cluster.remove("fail-1")
    await elsewhere.alerts.look()
    stored = read_state(await cluster.load_state())
    assert not stored.alerts and not stored.posts
