"""What is told of starts that a real kubelet was recorded at: each story once, and true at each step."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from bot.app.settings import Settings
from bot.core.chat.message import Place
from bot.core.chat.reply import Reply, Tone
from bot.core.deployment.workload import Phase
from tests.conftest import Chat, Clock, Say
from tests.services.startup.recorded import RECORDED, Recorded, recorded

CRASHED = "vLLM exited with an error, exit code 1"
EVICTED = "it wrote more to its node's disk than it may, and was evicted"
FAILING = {
    "exit-1": (CRASHED, 4),
    "pid-limit": (CRASHED, 3),
    "startup-kill": ("it was not ready in time, so it was ended (startup probe), exit code 137", 3),
    "ephemeral-storage": (EVICTED, 2),
}
"""Sequences whose runs end again and again: why, and how often they were tried."""
ALL = sorted(path.stem for path in RECORDED.glob("*.jsonl"))


class Play(Protocol):
    """A recorded sequence with the bot beside it."""

    def __call__(self, name: str) -> AbstractAsyncContextManager[Recorded]: ...


@pytest.fixture
def sequence(settings: Settings, chat: Chat, clock: Clock, tmp_path: Path) -> Play:
    @asynccontextmanager
    async def sequence(name: str) -> AsyncIterator[Recorded]:
        async with recorded(name, settings, chat, clock, tmp_path) as story:
            yield story

    return sequence


def lines_of(reply: Reply, say: Say) -> list[str]:
    return [say(line) for line in reply.lines]


@pytest.mark.parametrize("name", FAILING)
async def test_a_start_that_fails_again_and_again_is_one_card_and_one_alert_that_count(
    name: str, sequence: Play, chat: Chat, say: Say
) -> None:
    cause, tries = FAILING[name]
    async with sequence(name) as story:
        await story.play()
        assert story.workload.phase is Phase.FAILED and story.workload.ends == tries
        assert list(chat.messages) == [story.card, "m2"]  # its card, and one alert
        card, alert = chat.messages[story.card][-1], chat.messages["m2"][-1]
        assert say(card.text) == f"{name} did not start: {cause}"
        assert story.said(say).count(say(card.text)) == 1
        assert f"tried {tries} times" in lines_of(card, say)[-1]
        assert f"tried {tries} times" in lines_of(alert, say)


class OwnTerminal(Chat):
    """A terminal: what it has printed no other process can change."""

    def alone_shows(self, place: Place, message: str) -> bool:
        return message in self.messages


async def test_a_terminal_beside_the_bot_waits_until_that_has_read_why(
    settings: Settings, clock: Clock, tmp_path: Path, say: Say
) -> None:
    terminal = OwnTerminal()
    async with recorded("exit-1", settings, terminal, clock, tmp_path, leads=False) as story:
        await story.play()
        assert story.workload.phase is Phase.FAILED and "loading" in story.said(say)[-1]
        clock.advance(seconds=40)  # nobody will read it
        await story.quiet()
        assert story.said(say)[-1] == f"exit-1 did not start: {CRASHED}"


@pytest.mark.parametrize("name", ALL)
async def test_what_mends_itself_is_no_failure(name: str, sequence: Play, chat: Chat, say: Say) -> None:
    async with sequence(name) as story:
        await story.play()
        told = " ".join(story.said(say))
        assert ("did not start" in told) is (name in FAILING)
        assert ("is not running" in told) is name.startswith("node-lost")


@pytest.mark.parametrize("name", ["ephemeral-storage", "memory-pressure"])
async def test_a_storm_of_pods_ends(name: str, sequence: Play) -> None:
    async with sequence(name) as story:
        assert await story.repeat(most=9) < 9
        assert story.workload.phase in (Phase.DRAINING, Phase.ASLEEP) and len(story.pods) <= 1


async def test_its_end_is_told_to_its_owner_and_to_admins(sequence: Play, chat: Chat, say: Say) -> None:
    async with sequence("ephemeral-storage") as story:
        await story.repeat(most=9)
        await story.bot.alerts.look()
        assert list(chat.messages) == [story.card, "m2", "m3"]  # the alert, and that it was given up
        assert say(chat.last.text) == "ephemeral-storage failed and gave its GPU back."
        assert f"Why: {EVICTED}; tried 5 times." in lines_of(chat.last, say)
        [alert] = (history[-1] for history in chat.messages.values() if history[-1].key)
        told = say(alert.text)
        assert alert.tone is Tone.ASLEEP and "given up" in told and told.endswith("tried 5 times")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("drained", "its node was drained (gpu-node-3)"),
        ("tainted", "its node got a taint that it does not tolerate (gpu-node-3)"),
        ("gpu-lost", "its pod was removed from gpu-node-3"),
        ("preempted", "a more important pod took its place (gpu-node-3)"),
    ],
)
async def test_a_pod_that_is_deleted_while_it_is_ready_starts_again_and_is_no_failure(
    name: str, why: str, sequence: Play, chat: Chat, say: Say
) -> None:
    async with sequence(name) as story:
        await story.play()
        history = chat.messages[story.card]
        ready = next(n for n, reply in enumerate(history) if reply.tone is Tone.READY)
        after = [reply for reply in history[ready:] if reply.tone is not Tone.READY]
        moved = f"It starts again: {why}."
        assert after and all(moved in lines_of(reply, say) for reply in after)
        assert name == "preempted" or "is ready again" in say(history[-1].text)
        assert list(chat.messages) == [story.card]


@pytest.mark.parametrize("name", ["node-lost", "node-lost-replaced"])
async def test_a_node_that_comes_back_is_told_once(name: str, sequence: Play, say: Say) -> None:
    async with sequence(name) as story:
        await story.play()
        told = story.said(say)
        assert told.count(f"{name} is not running: a node it ran on is not responding") == 1
        assert "is ready again" in told[-1]
        assert ["ready again" in line for line in told if "is ready" in line] == [False, True]


async def test_a_model_that_does_not_answer_for_a_while_is_ready_again(sequence: Play, say: Say) -> None:
    async with sequence("unready-again") as story:
        await story.play()
        assert "it does not answer at the moment" in story.said(say)[-1]
        await story.answer_again()
        assert ["ready again" in line for line in story.said(say) if "is ready" in line] == [False, True]
