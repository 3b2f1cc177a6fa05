"""A model's server that sends whatever it likes: every answer is text or one calm sentence, in bounded memory
and time."""

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_asyncio

from bot.core.chat.errors import UserError
from bot.core.chat.message import Turn
from bot.core.ports import Endpoint, Sampling
from bot.engines.vllm.answer_stream import MOST_CHARACTERS
from bot.engines.vllm.inference import VllmInference
from tests.conftest import Say
from tests.fakes.hostile import MEBIBYTE, Hostile, Script, Write, drip, endless, head, hostile, plain

CHAT, TOKENIZE = "/v1/chat/completions", "/tokenize"
MIB = 2**20


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Hostile]:
    async with hostile() as fake:
        yield fake


@pytest_asyncio.fixture
async def vllm(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VllmInference]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    inference = VllmInference(first_token=20.0, between_tokens=2.0, whole=4.0)
    yield inference
    await inference.close()


@contextmanager
def little_memory(most: int) -> Iterator[None]:
    """No more than so many MiB at once."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak:.0f} MiB"


async def said(vllm: VllmInference, server: Hostile) -> tuple[str, str, int | None]:
    """The text that came, the key of the sentence that ended it, if one did, and the count of tokens."""
    text, tokens = "", None
    try:
        async for piece in vllm.answer(Endpoint(server.url, "m", "key"), [Turn("user", "hi")], Sampling()):
            text, tokens = text + piece.text, piece.tokens
    except UserError as error:
        return text, error.text.key, tokens
    return text, "", tokens


def event(chunk: object) -> bytes:
    return b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n"


def word(text: object, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, **more}]}


USAGE = {"choices": [], "usage": {"completion_tokens": 2}}
HELLO = event(word("Hello", finish_reason=None))
DONE = event(b"[DONE]")
DEEP = b'{"choices":' + b"[" * 200_000
TOLERATED = {
    "no delta": {"choices": [{"finish_reason": None}]},
    "delta is null": {"choices": [{"delta": None, "finish_reason": None}]},
    "delta is a list": {"choices": [{"delta": [], "finish_reason": None}]},
    "no finish_reason": word(""),
    "content is a number": word(7, finish_reason=None),
    "content is an object": word({"a": 1}, finish_reason=None),
    "choices is an object": {"choices": {"0": {}}},
    "choices is a text": {"choices": "choices"},
    "choices hold numbers": {"choices": [1, 2]},
    "choices hold nothing": {"choices": [None]},
    "a list": [1],
    "a number": 7,
    "null": None,
    "usage is a text": {"choices": [], "usage": "many"},
    "usage has a text": {"choices": [], "usage": {"completion_tokens": "many"}},
    "usage is negative": {"choices": [], "usage": {"completion_tokens": -1}},
    "usage is true": {"choices": [], "usage": {"completion_tokens": True}},
    "usage is huge": {"choices": [], "usage": {"completion_tokens": 10**300}},
    "usage is broken": b'{"choices": [], "usage": {"completion_tokens": 1e999}}',
    "nothing": b"",
    "usage is no number": b'{"choices": [], "usage": {"completion_tokens": NaN}}',
}
NONSENSE = {
    "bad JSON": b"{bad",
    "200,000 brackets": DEEP,
    "not UTF-8": b'{"choices": [{"delta": {"content": "\xff\xfe"}}]}',
    "half a character": b'{"choices": [{"delta": {"content": "\\ud800"}}]}',
    "a number of 5,000 digits": b'{"choices": [], "usage": {"completion_tokens": ' + b"9" * 5000 + b"}}",
}


@pytest.mark.parametrize("chunk", TOLERATED.values(), ids=TOLERATED)
async def test_kind_02_a_chunk_of_another_shape_says_nothing(
    server: Hostile, vllm: VllmInference, chunk: object
) -> None:
    server.scripts[CHAT] = plain(HELLO + event(chunk) + event(word(" you")) + event(USAGE) + DONE)
    assert await said(vllm, server) == ("Hello you", "", 2)


@pytest.mark.parametrize("chunk", NONSENSE.values(), ids=NONSENSE)
async def test_kind_02_a_chunk_that_is_no_json_ends_the_answer_with_a_sentence(
    server: Hostile, vllm: VllmInference, chunk: bytes
) -> None:
    server.scripts[CHAT] = plain(HELLO + event(chunk) + event(word(" you")) + DONE)
    assert await said(vllm, server) == ("Hello", "ask.nonsense", None)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (plain(b"<html><body>It works!</body></html>"), "ask.nonsense"),
        (plain(b""), "ask.nonsense"),
        (plain(DONE), "ask.nonsense"),
        (plain(b"", "204 No Content"), "ask.nonsense"),
        (plain(HELLO + DONE, headers="Content-Encoding: gzip\r\n"), ""),
        (plain(gzip.compress(HELLO), headers="Content-Encoding: gzip\r\n"), "ask.nonsense"),
        (plain(b"[" * 60_000, "400 Bad Request"), "ask.refused"),
        (plain(b'{"error": []}', "400 Bad Request"), "ask.refused"),
        (
            plain(b"\xff" * 100, "400 Bad Request", "Content-Type: text/plain; charset=zlib\r\n"),
            "ask.refused",
        ),
        (plain(b"\xff" * 100, "418 I'm a teapot", "Content-Encoding: br, gzip\r\n"), "ask.refused"),
        (plain(b"", "700 What", "Retry-After: soon\r\n"), "ask.server_error"),
    ],
)
async def test_kind_02_what_is_no_stream_at_all_is_a_sentence(
    server: Hostile, vllm: VllmInference, script: Script, sentence: str
) -> None:
    server.scripts[CHAT] = script
    assert (await said(vllm, server))[1] == sentence


async def test_kind_02_what_talks_no_http_is_a_sentence(server: Hostile, vllm: VllmInference) -> None:
    for noise in (b"SSH-2.0-OpenSSH_9\r\n", b"\x00" * 5000, b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300_000, b""):

        async def script(write: Write, noise: bytes = noise) -> None:
            await write(noise)

        server.scripts[CHAT] = script
        assert await said(vllm, server) == ("", "ask.unreachable", None)


async def test_kind_02_a_cut_connection_keeps_what_came(server: Hostile, vllm: VllmInference) -> None:
    async def script(write: Write) -> None:
        await write(head("200 OK", "Content-Length: 100000\r\n") + HELLO)

    server.scripts[CHAT] = script
    assert await said(vllm, server) == ("Hello", "ask.engine_died", None)


async def test_kind_16_an_answer_ends_at_its_longest_length(
    server: Hostile, vllm: VllmInference, say: Say
) -> None:
    server.scripts[CHAT] = endless(b"", event(word("word " * 500)))
    with little_memory(20):
        text, sentence, _ = await said(vllm, server)
    assert (len(text), sentence) == (MOST_CHARACTERS, "ask.too_much")
    assert server.written < 8 * MIB, "the rest is not even read"


@pytest.mark.parametrize(
    ("start", "part", "sentence"),
    [
        (b'data: {"choices": "', MEBIBYTE, "ask.nonsense"),
        (b"", event(word("")) * 1000, "ask.too_much"),
        (b"", b"\n" * 2**16, "ask.too_much"),
        (b"", event(USAGE) * 1000, "ask.too_much"),
    ],
    ids=["a line without an end", "events without text", "lines without events", "usage again and again"],
)
async def test_kind_16_a_stream_without_an_end_is_given_up_in_little_memory(
    server: Hostile, start: bytes, part: bytes, sentence: str
) -> None:
    vllm = VllmInference()
    server.scripts[CHAT] = endless(start, part)
    with little_memory(20):
        assert (await said(vllm, server))[1] == sentence
    await vllm.close()


async def test_kind_16_an_error_of_a_gibibyte_is_read_no_further_than_its_beginning(
    server: Hostile, vllm: VllmInference
) -> None:
    server.scripts[CHAT] = endless(b'{"error": {"message": "', MEBIBYTE, "400 Bad Request")
    with little_memory(20):
        assert (await said(vllm, server))[1] == "ask.refused"
    assert server.written < 16 * MIB


async def test_kind_02_a_slow_drip_is_given_up(server: Hostile, vllm: VllmInference) -> None:
    server.scripts[CHAT] = drip(HELLO * 1000, 0.05)
    assert (await said(vllm, server))[1] in ("ask.stalled", "ask.too_slow")

    server.scripts[CHAT] = drip(b": still there\n" * 1000, 0.01)
    assert (await said(vllm, server))[1] == "ask.too_slow"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent"])
@pytest.mark.parametrize("location", ["http://{}/elsewhere", "http://[::1", "\x01:\\", "/" + "a" * 60_000])
async def test_kind_16_no_redirect_is_followed(
    server: Hostile, vllm: VllmInference, status: str, location: str
) -> None:
    where = location.format(server.url.removeprefix("http://"))
    for path in (CHAT, TOKENIZE, "/metrics"):
        server.scripts[path] = plain(b"", status, f"Location: {where}\r\n")
    assert (await said(vllm, server))[1] in ("ask.nonsense", "ask.unreachable")
    assert await vllm.count_tokens(Endpoint(server.url, "m", "key"), [Turn("user", "hi")]) is None
    assert await vllm.load(server.url) is None
    assert set(server.asked) == {CHAT, TOKENIZE, "/metrics"}


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"7", b'"count"', b"{}", b"\xff", DEEP, b'{"count": ' + b"9" * 5000 + b"}"),
        *(b'{"count": %s}' % value for value in (b"null", b'"7"', b"-1", b"1e999", b"NaN", b"[7]")),
    ],
)
async def test_kind_16_a_count_of_tokens_that_is_none_is_unknown(
    server: Hostile, vllm: VllmInference, body: bytes
) -> None:
    server.scripts[TOKENIZE] = plain(body)
    assert await vllm.count_tokens(Endpoint(server.url, "m", "key"), [Turn("user", "hi")]) is None


async def test_kind_16_a_count_of_tokens_is_bounded_in_bytes_and_time(
    server: Hostile, vllm: VllmInference
) -> None:
    for script in (endless(b'{"count": 7, "x": "', MEBIBYTE), drip(b'{"count": 7' + b" " * 1000 + b"}", 0.2)):
        server.scripts[TOKENIZE] = script
        with little_memory(20):
            async with asyncio.timeout(30):
                counted = await vllm.count_tokens(Endpoint(server.url, "m", "key"), [Turn("user", "hi")])
        assert counted is None


async def test_kind_16_a_model_sets_no_cookies_for_others(server: Hostile, vllm: VllmInference) -> None:
    cookie = "Set-Cookie: a=" + "b" * 4000 + "; Path=/\r\n"
    server.scripts[CHAT] = plain(HELLO + DONE, headers=cookie)
    server.scripts[TOKENIZE] = plain(b'{"count": 7}', headers=cookie)
    for _ in range(2):
        assert (await said(vllm, server))[0] == "Hello"
        assert await vllm.count_tokens(Endpoint(server.url, "m", "key"), [Turn("user", "hi")]) == 7
    assert not [sent for sent in server.heads if "cookie" in sent.lower()]
