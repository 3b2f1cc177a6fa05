"""What people reported in public of answers: of their servers, and of what stood between these and a chat.

Each case names the report that it is from."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.core.failures.redact import redact
from bot.engines.vllm.inference import VllmInference
from tests.attacks.test_hostile_server import CHAT, DONE, HELLO, USAGE, event, said, word
from tests.fakes.hostile import Hostile, Script, Write, head, hostile, plain

STOP = event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
YOU = event(word(" you"))
END = STOP + event(USAGE) + DONE
WHOLE = ("Hello you", "", 2)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Hostile]:
    async with hostile() as fake:
        yield fake


@pytest_asyncio.fixture
async def vllm() -> AsyncIterator[VllmInference]:
    inference = VllmInference(first_token=3.0, between_tokens=0.5, whole=30.0)
    yield inference
    await inference.close()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HELLO + b"data:\n\ndata: \n\n" + YOU + END, id="omnigent-1474"),
        pytest.param(b"id: 7\n" + HELLO + b": ping\n\n" + YOU + END, id="llmgateway-2334"),
        pytest.param(HELLO + b":\n\n" + YOU + END, id="coder-28185"),
        pytest.param((HELLO + b": x\n\n" + YOU + END).replace(b"\n", b"\r\n"), id="cc-switch-1787"),
        pytest.param((HELLO + YOU + END).replace(b"data: ", b"data:"), id="Clawith-106"),
        pytest.param(
            b'data: {"choices": [\ndata: {"delta": {"content": "Hello"}}]}\n\n' + YOU + END,
            id="routstr-core-543",
        ),
        pytest.param((HELLO + YOU + END).replace(b"\n\n", b"\n"), id="lines-without-empty-ones"),
        pytest.param(event({"error": None, **word("Hello")}) + YOU + END, id="litellm-32237"),
        pytest.param(HELLO + YOU + event(USAGE) + DONE, id="oh-my-pi-9433"),
        pytest.param(HELLO + YOU + STOP + event(USAGE), id="llmgateway-1901"),
        pytest.param(
            event({"choices": [], "prompt_filter_results": []}) + HELLO + YOU + END, id="litellm-3276"
        ),
    ],
)
async def test_what_only_looks_odd_is_an_answer(server: Hostile, vllm: VllmInference, body: bytes) -> None:
    server.scripts[CHAT] = plain(body)
    assert await said(vllm, server) == WHOLE


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        pytest.param(
            {"message": "maximum context length is 4096 tokens.", "code": 400},
            "ask.too_long",
            id="sglang-12081",
        ),
        pytest.param({"message": "TimeoutError", "code": 504}, "ask.server_error", id="guidellm-743"),
        pytest.param({"message": "queue is full", "code": 429}, "ask.busy", id="litellm-40578"),
        pytest.param({"message": "no such image", "code": 400}, "ask.refused", id="Rapid-MLX-1849"),
        pytest.param(
            {"message": "EngineCore encountered an issue. See stack trace (above)", "code": 400},
            "ask.engine_died",
            id="vllm-0.8.5-calls-it-400",
        ),
        pytest.param({"message": ["?"], "code": "overloaded"}, "ask.engine_died", id="no-status"),
        pytest.param("Compute error.", "ask.engine_died", id="goai-110"),
    ],
)
async def test_an_error_inside_a_stream_is_told_as_it_is(
    server: Hostile, vllm: VllmInference, error: object, sentence: str
) -> None:
    server.scripts[CHAT] = plain(HELLO + event({"error": error}) + DONE)
    assert await said(vllm, server) == ("Hello", sentence, None)


UNFRAMED = b'{"error": {"code": 400, "message": "request exceeds the available context size"}}'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HELLO, id="GoModel-1017"),
        pytest.param(HELLO + UNFRAMED, id="lemonade-2826"),
        pytest.param(HELLO + b'data: {"choices": [{"del', id="graniet-llm-90"),
        pytest.param(
            HELLO + event({"choices": [{"delta": {}, "finish_reason": "error"}]}) + DONE, id="agent-os-2215"
        ),
        pytest.param(
            HELLO + event({"choices": [{"delta": {}, "finish_reason": "abort"}]}) + DONE, id="vllm-abort"
        ),
    ],
)
async def test_half_an_answer_is_never_shown_as_a_whole_one(
    server: Hostile, vllm: VllmInference, body: bytes
) -> None:
    server.scripts[CHAT] = plain(body)
    assert await said(vllm, server) == ("Hello", "ask.unfinished", None)


def pings(before: bytes) -> Script:
    """A proxy that keeps the connection open while its server is silent."""

    async def script(write: Write) -> None:
        await write(head("200 OK") + before)
        while True:
            await write(b": ping\n\n")
            await asyncio.sleep(0.1)

    return script


async def test_pings_are_no_sign_of_life_of_the_model(server: Hostile, vllm: VllmInference) -> None:
    server.scripts[CHAT] = pings(HELLO)  # sub2api 1707
    assert await said(vllm, server) == ("Hello", "ask.stalled", None)
    server.scripts[CHAT] = pings(b"")
    assert await said(vllm, server) == ("", "ask.no_first_token", None)


async def test_a_comment_before_the_first_word_shortens_no_patience(
    server: Hostile, vllm: VllmInference
) -> None:
    async def script(write: Write) -> None:
        await write(head("200 OK") + b": connected\n\n")
        await asyncio.sleep(1.0)  # longer than between two tokens, shorter than before the first
        await write(HELLO + YOU + END)

    server.scripts[CHAT] = script
    assert await said(vllm, server) == WHOLE


async def test_what_a_server_does_after_the_end_is_not_waited_for(
    server: Hostile, vllm: VllmInference
) -> None:
    server.scripts[CHAT] = pings(HELLO + YOU + END)
    assert await said(vllm, server) == WHOLE


@pytest.mark.parametrize(
    ("line", "secrets"),
    [
        pytest.param(
            "non-default args: {'hf_token': 'first-secret-1', 'api_key': 'second-secret-2'}",
            ("first-secret-1", "second-secret-2"),
            id="vllm-53625",
        ),
        pytest.param(
            "non-default args: {'api_key': ['first-secret-1', 'second-secret-2'], 'port': 8000}",
            ("first-secret-1", "second-secret-2"),
            id="vllm-52523",
        ),
        pytest.param(
            '"tokens": 3, "api_key": ["first-secret-1",\\n "second-secret-2"]',
            ("second-secret-2",),
            id="JSON",
        ),
    ],
)
def test_a_log_of_arguments_shows_none_of_the_keys(line: str, secrets: tuple[str, ...]) -> None:
    shown = redact(line)
    assert not [secret for secret in secrets if secret in shown]
    assert "port': 8000" in shown or "port" not in line
