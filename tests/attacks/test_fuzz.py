"""Nonsense, near-sense and huge input: command lines and what chats call us with. Nothing comes of it but
sentences and refusals; the seed of a failure is in its message."""

import asyncio
import itertools
import json
import os
import random
import string
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from bot.commands import COMMANDS
from bot.core.chat.errors import UserError
from bot.core.chat.languages import VERBS
from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply
from bot.grammar.free_text import understand
from bot.grammar.parsing import parse
from bot.platforms.mattermost.buttons import CLICK, FORM, STOP, Buttons
from bot.platforms.mattermost.callbacks import Callbacks
from bot.platforms.mattermost.context import MattermostContext
from bot.platforms.mattermost.inbound import MattermostInbound
from bot.platforms.mattermost.people import MattermostPeople
from bot.platforms.mattermost.posts import MattermostEdits, MattermostThreads
from bot.platforms.mattermost.rest import RestClient
from bot.platforms.shared.presenter import Origin
from tests.conftest import Ask

TRIES = int(os.environ.get("FUZZ_TRIES", "100000"))
"""Of command lines."""
CALLS = int(os.environ.get("FUZZ_CALLS", "5000"))
"""Of calls of Mattermost; `make e2e` makes 100,000."""
SEED = int(os.environ.get("FUZZ_SEED", "16"))
NAMES = {"model": ["llama-3-8b", "llama3", "qwen2.5-7b"], "workload": ["llama-3-8b", "my-qwen"]}
ODD = [
    "", " ", "\0", "\n", "\r\n", "\t", "\x1b[2J", "\u202e", "\u2028", "\ufeff", "\ud800", "\U000e0041", "é",
    "漢字", "🤖", "İ", "ß", "ﬀ", "①", "٣", "‘", "“", "„", "—", "--", "=", "==", "'", '"', "\\", "/", "..",
    "a/..", "../..", "a/b/c", "%s", "%00", "{0}", "{name}", "{{", "}", "$(id)", "`id`", "<@U1>",
    "<!channel>", "@all", "&lt;", "[]", "None", "null", "true", "nan", "inf", "-1", "0", "1e999", "9" * 400,
    "0.9.9", "1h" * 50, "99999999d", "25:99", "mo-fr 8-20", "hours=", "tp=", "util=nan", "util=1e400",
    "max-len=9999999999k", "ttl=0s", "for=", "system=", "shape=1/2/3/4/5/6/7", "shape=" + "9" * 50,
    "http://", "hf.co/a/b", "https://huggingface.co/a/..", "x" * 3000,
]  # fmt: skip


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


class Nobody(MattermostInbound):
    """Knows everybody, and answers nothing."""

    async def person(self, user: str, team: str) -> User:
        return User(user, user)

    async def resolve_place(self, place: Place, user: User, origin: Origin) -> tuple[Place, Origin]:
        return place, origin


async def silence(message: Message) -> AsyncGenerator[Reply, str | None]:
    """What `handle` does with a line that has no reply."""
    assert isinstance(message.text, str) and isinstance(message.about, str)
    return
    yield Reply()


def mutated(chance: random.Random, value: Any, depth: int = 0) -> Any:
    """The value with something in it left out, doubled, or of another kind."""
    kind = chance.randrange(7)
    if kind == 0 or depth > 5:
        return chance.choice((*ODD, None, 0, -1, 1e308, True, [], {}, ["x"], {"x": {}}, [[[[]]]] * 3))
    if isinstance(value, dict) and value:
        name = chance.choice(sorted(value))
        if kind == 1:
            return {key: inner for key, inner in value.items() if key != name}
        if kind == 2:
            return {**value, chance.choice(ODD): value[name]}
        return {**value, name: mutated(chance, value[name], depth + 1)}
    if isinstance(value, list) and value:
        return value * 3 if kind == 1 else [mutated(chance, value[0], depth + 1), *value[1:]]
    if isinstance(value, str) and kind < 4:
        at = chance.randrange(len(value) + 1)
        return value[:at] + chance.choice(ODD) + value[at + chance.randrange(3) :]
    return value


def garbled(chance: random.Random, text: str) -> bytes:
    """The text as bytes, now and then cut, or with bytes that are none of UTF-8."""
    raw = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        at = chance.randrange(len(raw) + 1)
        raw = raw[:at] + chance.randbytes(chance.randrange(4)) + raw[at + chance.randrange(9) :]
    return b"[" * 50_000 if chance.random() < 0.001 else raw


def request(path: str, body: bytes, **headers: str) -> web.Request:
    """A call as aiohttp's server hands it on."""
    payload = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**20)
    payload.feed_data(body)
    payload.feed_eof()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("POST", path, headers=named, payload=payload)


FORMS = "application/x-www-form-urlencoded"
COMMAND = {
    "token": "s3cret", "team_id": "t1", "channel_id": "c1", "user_id": "u1", "trigger_id": "tr",
    "response_url": "http://127.0.0.1/x", "text": "status", "root_id": "",
}  # fmt: skip


def _calls_of_mattermost(chance: random.Random, buttons: Buttons) -> Iterator[tuple[str, bytes, str]]:
    """Path, body and type of content: those of real calls, mutated; half of them signed as they should be."""
    place = {"channel": "c1", "thread": ""}
    for number in itertools.count():
        line = {"line": "stop tinyllama", "about": "", "label": "Stop", "confirm": "", **place}
        signed = buttons.signer.sign(CLICK, **line)
        state = buttons.signer.sign(FORM, user="u1", names="model ttl", required="model", **line)
        stop = buttons.signer.sign(STOP, key="k", channel="c1")
        button = chance.choice(({"purpose": CLICK, "signed": signed}, {"purpose": STOP, "signed": stop}))
        person = {"user_id": "u1", "channel_id": "c1", "team_id": "t1", "trigger_id": f"t{number}"}
        click = {**person, "post_id": "p1", "type": "button", "context": button}
        dialog = {**person, "callback_id": "form", "state": state, "submission": {"model": "a", "ttl": None}}
        what, body = chance.choice((("action", click), ("dialog", dialog), ("command", COMMAND)))
        kind = FORMS if what == "command" else "application/json"
        kind = kind if chance.random() < 0.95 else chance.choice(("text/plain", "multipart/form-data", kind))
        for _ in range(chance.choice((0, 1, 1, 2, 4))):
            body = mutated(chance, body)
        if what == "command":
            with suppress(TypeError, ValueError):
                yield what, garbled(chance, urlencode(body)), kind
        else:
            yield what, garbled(chance, json.dumps(body)), kind


async def test_calls_of_mattermost_are_answered_or_refused() -> None:
    chance, buttons = random.Random(SEED), Buttons("token", "http://bot")
    rest = RestClient("http://127.0.0.1:9", "token", True)
    context = MattermostContext(rest, MattermostThreads(rest, "token"), MattermostEdits(rest), buttons)
    with capture_logs() as logged:
        inbound = Nobody(context, MattermostPeople(rest, ()), silence, lambda _: lambda text: text.key)
        calls = Callbacks(inbound, {"t1": "s3cret"}, lambda _: lambda text: text.key)
        answers: Counter[int] = Counter()

        async def call(number: int, what: str, body: bytes, kind: str) -> None:
            shown = "Token s3cret" if number % 10 else chance.choice(("", "Token", "Token é", "Basic s3cret"))
            sent = request(f"/mattermost/{what}", body, Content_Type=kind, Authorization=shown)
            try:
                answer = await getattr(calls, what)(sent)
            except Exception as error:
                raise AssertionError(f"seed {SEED}, call {number}: {what} {body[:800]!r}") from error
            answers[answer.status] += 1

        coming = enumerate(itertools.islice(_calls_of_mattermost(chance, buttons), CALLS))
        while together := list(itertools.islice(coming, 200)):
            await asyncio.gather(*(call(number, *one) for number, one in together))
        await inbound.close()
        await rest.close()
    assert set(answers) <= {200, 400, 401, 403, 413, 415} and answers[200] > CALLS // 20, answers
    assert [line for line in logged if line["log_level"] == "error"] == []
