"""The terminal: what a reply looks like, and a whole story as a script."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from bot.core.chat.message import Message
from bot.core.chat.reply import Reply, Tone
from bot.core.chat.text import Phrasebook, verbatim
from bot.platforms.console.adapter import TERMINAL, Console
from bot.platforms.console.render import render
from tests.conftest import PATIENCE, eventually
from tests.platforms.replies import GOLDEN, REPLIES

ROOT = Path(__file__).parents[3]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_looks_as_agreed(name: str, language: str, phrases: Phrasebook) -> None:
    drawn = render(REPLIES[name], lambda text: phrases.say(text, language)) + "\n"
    assert drawn == (GOLDEN / f"{name}.{language}.txt").read_text()


def demo(script: str, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot", "demo", *flags],
        input=script,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        env={**os.environ, **env},
    )


def test_a_script_tells_the_whole_story_and_exits_0() -> None:
    story = (
        "deploy llama-3-8b tp=2\nstatus\nask llama-3-8b hello\nand more\nask and more?\n1\nstop llama-3-8b\n"
    )
    done = demo(story, "--speed", "600")
    assert done.returncode == 0 and done.stderr == ""
    told = done.stdout
    for said in (
        "> deploy llama-3-8b tp=2",
        "◐ llama-3-8b · fp16 · 2 × V100 (tp 2) · 8k context",
        "pulling the image · on icc-gpu-1",
        "● llama-3-8b is ready",
        "● llama-3-8b   ready   you     2",
        "You asked: “hello”",
        "✕ There is no “and”.",
        "You asked: “and more?”",
        "○ llama-3-8b is stopped and gives its 2 GPUs back.",
    ):
        assert said in told, said
    assert told.index("is ready") < told.index("> status") < told.index("> stop")
    assert "\x1b" not in told and "Traceback" not in told


def test_a_number_is_the_choice_shown_last() -> None:
    done = demo("deploy llama-3-8b tp=1\n2\ngpus\n", "--speed", "600")
    assert "> /llm deploy llama-3-8b tp=1 quant=gptq" in done.stdout
    assert "GPTQ 4-bit · 1 × V100" in done.stdout and "7 of 8 GPUs are free" in done.stdout


def test_german_and_another_person() -> None:
    done = demo("deploy llama-3-70b quant=gptq\nwhoami\n", "--user", "eve", LANGUAGE="de")
    assert "tp=4 ist zu groß: Für die Rolle Studierende ist die Grenze tp=2." in done.stdout
    assert done.returncode == 0


def test_the_end_of_input_waits_until_what_runs_is_settled_but_not_for_the_queue() -> None:
    lines = "".join(f"deploy llama-3-70b quant=gptq name=m{n}\n" for n in range(3))
    done = demo(lines, "--speed", "900")
    assert done.stdout.count("is ready") == 2 and "m2 is waiting for 4 free GPUs" in done.stdout
    assert done.returncode == 0


async def test_an_incident_from_its_cause_to_its_end_and_a_report_with_a_chart() -> None:
    command = (sys.executable, "-m", "bot", "demo", "--speed", "600")
    pipe = asyncio.subprocess.PIPE
    bot = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe)
    assert bot.stdin and bot.stdout
    keyboard, screen = bot.stdin, bot.stdout
    told = ""

    async def type_(line: str, *until: str) -> None:
        nonlocal told
        keyboard.write(f"{line}\n".encode())
        begun = len(told)
        while not all(words in told[begun:] for words in until):
            told += (await screen.readline()).decode()

    owner = "✕ tinyllama is not running: a GPU ran out of memory while the model was starting"
    admin = (
        "✕ #1 tinyllama (you) is not running: a GPU ran out of memory while the model was starting · cuda_oom"
    )
    async with asyncio.timeout(PATIENCE):
        await type_("deploy tinyllama", "is ready")
        await type_("simulate fail cuda_oom tinyllama", owner, admin, "[2 Start again with tp=2]")
        await type_("scale tinyllama tp=2", "is ready", "● #1 tinyllama")
        while "GPU-hours used" not in told:  # by the next sweep
            await type_("report", "days")
        out, err = await bot.communicate(b"")
    assert bot.returncode == 0 and err == b""
    [chart] = {*re.findall(r"/\S+\.png", told + out.decode())}
    assert Path(chart).read_bytes().startswith(b"\x89PNG")


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
