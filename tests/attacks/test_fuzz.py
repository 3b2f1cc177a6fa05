"""Nonsense, near-sense and huge command lines. Nothing comes of them but sentences; the seed of a failure is
in its message."""

import asyncio
import random
import string
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bot.commands import COMMANDS
from bot.core.chat.errors import UserError
from bot.core.chat.languages import VERBS
from bot.core.chat.reply import Reply
from bot.grammar.free_text import understand
from bot.grammar.parsing import parse
from tests.attacks.fuzz import ODD, SEED
from tests.conftest import Ask

TRIES = 100_000
"""Of command lines."""
NAMES = {"model": ["llama-3-8b", "llama3", "qwen2.5-7b"], "workload": ["llama-3-8b", "my-qwen"]}


def lines(chance: random.Random) -> Iterator[str]:
    """What people type, in both languages, a little or wholly wrong."""
    typed = [line for command in COMMANDS.values() for line in (command.verb, *command.examples)]
    typed += [f"{word} llama-3-8b" for word in VERBS] + ["vllm serve a/b -tp 2", "starte llama 3 mit 2 gpus"]
    words = sorted({word for line in typed for word in line.split()})
    options = sorted({name for command in COMMANDS.values() for name in command.arguments()})
    while True:
        found = chance.choice(typed).split(" ")
        for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
            at = chance.randrange(len(found) + 1)
            found[at : at + chance.choice((0, 0, 1, 2))] = [_word(chance, words, options)]
        yield chance.choice((" ", " ", " ", "  ", "\n", "")).join(found)


def _word(chance: random.Random, words: list[str], options: list[str]) -> str:
    kind = chance.randrange(6)
    if kind == 0:
        return chance.choice(ODD)
    if kind == 1:
        return f"{chance.choice(options)}={chance.choice((*ODD, *words))}"
    if kind == 2:
        return "".join(chance.choices(string.printable, k=chance.randrange(1, 12)))
    if kind == 3:
        return "".join(chr(chance.randrange(0x20, 0x3000)) for _ in range(chance.randrange(1, 6)))
    word = list(chance.choice(words))
    if kind == 4 and word:
        word[chance.randrange(len(word))] = chance.choice(ODD)
    return "".join(word)


def test_100_000_command_lines_end_in_a_command_or_a_sentence() -> None:
    typed = lines(random.Random(SEED))
    for number in range(TRIES):
        line = next(typed)
        try:
            with suppress(UserError):
                parse(line, COMMANDS, NAMES.__getitem__)
            with suppress(UserError):
                parse(understand(line, COMMANDS, NAMES.__getitem__), COMMANDS, NAMES.__getitem__)
        except Exception as error:
            raise AssertionError(f"seed {SEED}, try {number}: {line[:500]!r}") from error


async def test_kind_16_lines_that_run_say_something_and_break_nothing(ask: Ask) -> None:
    typed = lines(random.Random(SEED))
    for number in range(TRIES // 50):
        line = next(typed)
        for who in ("eve", "grace"):
            replies = await _first_replies(ask, line, who)
            broken = [r for r in replies if r.text and r.text.key == "error.internal"]
            assert not broken, f"seed {SEED}, try {number}: {line[:500]!r}"


async def _first_replies(ask: Ask, line: str, who: str) -> list[Reply]:
    """What is said at once; a question may wait for its model."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            return await ask(line, who)
    return []


SHAPE = "shape=32/4096/32/8/128/14336/128256"


@pytest.mark.parametrize("model", ["a/..", "../..", "a/.", "./a", "https://huggingface.co/a/..", "a/…"])
@pytest.mark.parametrize("verb", ["deploy", "plan"])
async def test_kind_16_a_model_that_is_a_path_is_refused_with_a_sentence(
    ask: Ask, verb: str, model: str
) -> None:
    for who in ("eve", "ada", "grace"):
        for line in (f"{verb} {model}", f"{verb} {model} {SHAPE}", f"{verb} {model} {SHAPE} name=.."):
            [reply] = await ask(line, who)
            assert reply.text and reply.text.key != "error.internal" and reply.tone == "✕", line
