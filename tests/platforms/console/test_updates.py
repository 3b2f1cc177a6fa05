"""What a terminal prints of messages that change: what is new, under the name that it belongs to."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from bot.core.chat.message import Message
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import Phrasebook, verbatim
from bot.platforms.console.adapter import TERMINAL, Console
from tests.conftest import eventually

Capture = pytest.CaptureFixture[str]


def card(head: str, *lines: str, live: bool = True, tone: Tone = Tone.LOADING) -> Reply:
    return Reply(verbatim(head), tone, lines=tuple(map(verbatim, lines)), live=live)


def failed(name: str, *lines: str) -> Reply:
    return card(f"{name} did not start", *lines, live=False, tone=Tone.FAILED)


@pytest.fixture
def console(phrases: Phrasebook) -> Console:
    return Console(phrases, "en", "ada")


async def test_a_failure_is_one_line_and_then_its_count(console: Console, capsys: Capture) -> None:
    message = await console.post(TERMINAL, card("a · loading"))
    for count in (2, 3, 4):
        await console.edit(TERMINAL, message, failed("a", "“no such file”", f"tried {count} times"))
    assert capsys.readouterr().out.splitlines() == [
        "◐ a · loading",
        "✕ a did not start",
        "  “no such file”",
        "  tried 2 times",
        "  tried 3 times",
        "  tried 4 times",
    ]


async def test_a_line_below_those_of_another_model_says_whose_it_is(
    console: Console, capsys: Capture
) -> None:
    one = await console.post(TERMINAL, failed("a", "tried 2 times"))
    other = await console.post(TERMINAL, card("b · pulling"))
    await console.edit(TERMINAL, one, failed("a", "tried 3 times"))
    await console.edit(TERMINAL, other, card("b · pulling", "“Back-off pulling image”"))
    assert capsys.readouterr().out.splitlines()[3:] == [
        "✕ a did not start",
        "  tried 3 times",
        "◐ b · pulling",
        "  “Back-off pulling image”",
    ]


async def test_what_another_terminal_has_printed_is_not_printed_here(
    console: Console, phrases: Phrasebook, capsys: Capture
) -> None:
    message = await Console(phrases, "en", "bob").post(TERMINAL, card("b · pulling"))
    capsys.readouterr()
    await console.edit(TERMINAL, message, failed("b"))
    assert capsys.readouterr().out == ""


class Typed:
    """Lines that somebody types, as standard input; each is given when the one before is done with."""

    def __init__(self, *lines: str) -> None:
        self.left = [f"{line}\n" for line in lines]

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        return self.left.pop(0) if self.left else ""


async def test_the_next_line_waits_for_what_the_last_one_began_and_for_nothing_else(
    phrases: Phrasebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = Typed("deploy a", "status")
    monkeypatch.setattr("sys.stdin", typed)
    console = Console(phrases, "en", "ada")
    flapping = await console.post(TERMINAL, failed("other"))
    asked: list[str] = []
    cards: list[str] = []

    async def handle(message: Message) -> AsyncGenerator[Reply, str | None]:
        asked.append(message.text)
        sent = yield card(f"{message.text} · loading", live=message.text.startswith("deploy"))
        cards.append(str(sent))

    listening = asyncio.create_task(console.listen(handle))
    await eventually(lambda: cards)
    await console.edit(TERMINAL, flapping, card("other · loading"))
    assert asked == ["deploy a"] and typed.left
    await console.edit(TERMINAL, cards[0], card("a is ready", live=False))
    await eventually(listening.done)
    assert asked == ["deploy a", "status"]  # though the other one is live yet
