"""The terminal: what a reply looks like, and a whole story as a script."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bot.core.chat.text import Phrasebook
from bot.platforms.console.render import render
from tests.conftest import PATIENCE
from tests.platforms.replies import GOLDEN, REPLIES

ROOT = Path(__file__).parents[3]


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
        "○ llama-3-8b is stopped; 2 GPUs are free again.",
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

    owner = "✕ tinyllama did not start: a GPU ran out of memory while the model was starting"
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
