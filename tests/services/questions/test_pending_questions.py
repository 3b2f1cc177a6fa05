"""Questions that wait outlive the bot, whoever else writes and whatever cannot go on at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from bot.app.application import App
from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.text import t
from bot.services.questions.pending_questions import LOOK_EVERY, PendingQuestions
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import THREAD, Chat, Clock, settle

ELSEWHERE = Place("test", "C9")


@pytest_asyncio.fixture
async def pending(bot: App, ask: Callable[[str], Awaitable[Any]]) -> PendingQuestions:
    """Those of a bot with a model, to which one question is waiting since before the bot began."""
    await ask("deploy tinyllama")
    await bot.services.cluster.update_record("tinyllama", pending_questions={"old": ELSEWHERE})
    return bot.services.pending_questions


@pytest.fixture
def waiting(cluster: SimulatedCluster) -> Callable[[], set[str]]:
    """What the cluster remembers."""
    return lambda: set(cluster.workloads()[0].record.pending_questions)


class Resuming:
    """Stands for `Chat.resume`: says or raises what is next of `outcomes`, or goes on until `over`."""

    def __init__(self, *outcomes: bool | UserError) -> None:
        self.asked: list[tuple[Place, str]] = []
        self.over = asyncio.Event()
        self._outcomes = list(outcomes)

    async def __call__(self, place: Place, message: str) -> bool:
        self.asked.append((place, message))
        if not self._outcomes:
            await self.over.wait()
            return True
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, UserError):
            raise outcome
        return outcome


@pytest_asyncio.fixture
async def leading(pending: PendingQuestions) -> AsyncIterator[Callable[[], None]]:
    """Call it to let the bot lead."""
    tasks: list[asyncio.Task[None]] = []
    yield lambda: tasks.append(asyncio.create_task(pending.run()))
    for task in tasks:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waited_before_is_kept_while_others_come_and_go(
    pending: PendingQuestions, waiting: Callable[[], set[str]]
) -> None:
    await pending.add("tinyllama", THREAD, "new")
    assert waiting() == {"old", "new"}
    await pending.remove("tinyllama", "new")
    assert waiting() == {"old"}


async def test_of_questions_that_come_and_go_at_once_none_is_lost(
    pending: PendingQuestions,
    waiting: Callable[[], set[str]],
    cluster: SimulatedCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    update = cluster.update_record

    async def slow(name: str, **changes: Any) -> None:
        await settle()
        await update(name, **changes)

    monkeypatch.setattr(cluster, "update_record", slow)
    names = [f"q{number}" for number in range(5)]
    await asyncio.gather(*(pending.add("tinyllama", THREAD, name) for name in names))
    assert waiting() == {"old", *names}
    await asyncio.gather(
        *(pending.remove("tinyllama", name) for name in names[:3]), pending.add("tinyllama", THREAD, "last")
    )
    assert waiting() == {"old", "q3", "q4", "last"}


async def test_what_goes_on_is_remembered_until_it_is_over(
    pending: PendingQuestions,
    waiting: Callable[[], set[str]],
    leading: Callable[[], None],
    chat: Chat,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resuming = Resuming()
    monkeypatch.setattr(chat, "resume", resuming)
    leading()
    for _ in range(3):
        await settle()
        clock.advance(seconds=LOOK_EVERY)
    assert resuming.asked == [(ELSEWHERE, "old")] and waiting() == {"old"}
    resuming.over.set()  # be it that the person was refused
    await settle()
    assert waiting() == set()


@pytest.mark.parametrize(
    "outcome", [False, UserError(t("slack.refused", why="unreachable"))], ids=["no room", "away"]
)
async def test_what_cannot_go_on_now_is_tried_again(
    pending: PendingQuestions,
    waiting: Callable[[], set[str]],
    leading: Callable[[], None],
    chat: Chat,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    outcome: bool | UserError,
) -> None:
    resuming = Resuming(outcome, outcome)
    monkeypatch.setattr(chat, "resume", resuming)
    leading()
    await settle()
    await pending.add("tinyllama", THREAD, "new")
    assert waiting() == {"old", "new"}
    for _ in range(2):
        clock.advance(seconds=LOOK_EVERY)
        await settle()
    assert len(resuming.asked) == 3
    resuming.over.set()
    await settle()
    assert waiting() == {"new"}


async def test_who_waits_for_a_model_that_is_stopped_is_told_though_no_bot_had_taken_it_up(
    pending: PendingQuestions,
    ask: Callable[[str], Awaitable[Any]],
    chat: Chat,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resuming = Resuming(True)
    monkeypatch.setattr(chat, "resume", resuming)
    await ask("stop tinyllama")
    assert resuming.asked == [(ELSEWHERE, "old")]


async def test_one_that_takes_long_delays_no_other(
    pending: PendingQuestions,
    leading: Callable[[], None],
    chat: Chat,
    cluster: SimulatedCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await cluster.update_record("tinyllama", pending_questions={"old": ELSEWHERE, "other": THREAD})
    resuming = Resuming()
    monkeypatch.setattr(chat, "resume", resuming)
    leading()
    await settle()
    assert {message for _, message in resuming.asked} == {"old", "other"}
