"""The openai client over a socket, against a server that behaves as badly as vLLM can."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from bot.core.chat.errors import UserError
from bot.core.chat.message import Turn
from bot.core.ports import Endpoint, Load, Piece, Sampling
from bot.engines.vllm.inference import VllmInference
from tests.conftest import eventually

PLAIN = Sampling()
TURNS = [Turn("system", "be brief"), Turn("user", "hello")]
V0 = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 2.0
vllm:num_requests_waiting{model_name="m"} 1.0
vllm:prompt_tokens_total{model_name="m"} 100.0
vllm:generation_tokens_total{model_name="m"} 23.0
vllm:request_success_total{finished_reason="stop",model_name="m"} 3.0
"""
V1 = """\
vllm:num_requests_running{engine="0",model_name="m"} 1.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:generation_tokens_total{engine="0",model_name="m"} 5.0
vllm:generation_tokens_total{engine="1",model_name="m"} 7.0
"""


class FakeVllm:
    """Plays `chunks`, with `pause` seconds before each; a number is a status, "cut" drops the line."""

    def __init__(self) -> None:
        self.chunks: list[object] = []
        self.pause = 0.0
        self.metrics = V0
        self.asked: list[dict[str, Any]] = []
        self.streaming = 0
        self.failures = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({"headers": dict(request.headers), **await request.json()})
        first = self.chunks[0] if self.chunks else None
        if isinstance(first, tuple):
            if self.failures > 0:
                self.failures -= 1
            status, message = first
            return web.json_response({"error": {"message": message, "code": status}}, status=status)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        self.streaming += 1
        try:
            for chunk in self.chunks:
                await asyncio.sleep(self.pause)
                if chunk == "cut":
                    assert request.transport
                    request.transport.close()
                    return stream
                line = chunk if isinstance(chunk, str) else json.dumps(chunk)
                await stream.write(f"data: {line}\n\n".encode())
        finally:
            self.streaming -= 1
        return stream

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response({"count": len(body["messages"]) * 10})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self.metrics)


def word(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeVllm]:
    fake = FakeVllm()
    await fake.start()
    yield fake
    await fake.stop()


@pytest_asyncio.fixture
async def vllm() -> AsyncIterator[VllmInference]:
    inference = VllmInference(first_token=2.0, between_tokens=1.0)
    yield inference
    await inference.close()


async def collect(vllm: VllmInference, fake: FakeVllm, sampling: Sampling = PLAIN) -> list[Piece]:
    endpoint = Endpoint(fake.url, "m", "secret")
    return [piece async for piece in vllm.answer(endpoint, TURNS, sampling)]


async def refusal(vllm: VllmInference, fake: FakeVllm) -> tuple[str, list[str]]:
    got = []
    with pytest.raises(UserError) as refused:
        async for piece in vllm.answer(Endpoint(fake.url, "m", "secret"), TURNS, Sampling()):
            got.append(piece.text)
    return refused.value.text.key, got


async def test_an_answer_streams_with_the_key_and_what_was_asked_for(
    vllm: VllmInference, fake: FakeVllm
) -> None:
    fake.chunks = [word("He"), ": keep-alive is no data", word("llo", "stop"), USAGE, "[DONE]"]
    fake.chunks[1] = word("")
    pieces = await collect(vllm, fake, Sampling(temperature=0.2, max_tokens=40))
    assert "".join(piece.text for piece in pieces) == "Hello"
    assert pieces[-1].tokens == 2 and not pieces[-1].cut
    [asked] = fake.asked
    assert asked["headers"]["Authorization"] == "Bearer secret"
    assert asked["messages"] == [{"role": t.role, "content": t.content} for t in TURNS]
    assert asked["temperature"] == 0.2 and asked["max_tokens"] == 40 and "top_p" not in asked


async def test_an_answer_cut_at_its_limit_says_so(vllm: VllmInference, fake: FakeVllm) -> None:
    fake.chunks = [word("He", "length"), USAGE, "[DONE]"]
    assert (await collect(vllm, fake))[-1].cut


@pytest.mark.parametrize(
    ("status", "message", "key"),
    [
        (
            400,
            "This model's maximum context length is 512 tokens. However, your prompt contains 600",
            "ask.too_long",
        ),
        (
            400,
            "This model's maximum context length is 512 tokens. However, you requested 600",
            "ask.too_long",
        ),
        (
            400,
            "default chat template is no longer allowed, so you must provide a chat template",
            "ask.no_chat_template",
        ),
        (401, "Unauthorized", "ask.key_refused"),
        (404, "The model `m` does not exist.", "ask.wrong_name"),
        (400, "top_p must be in (0, 1]", "ask.refused"),
        (500, "Internal Server Error", "ask.server_error"),
        (503, "no endpoints", "ask.busy"),
    ],
)
async def test_error_bodies_become_sentences(
    vllm: VllmInference, fake: FakeVllm, status: int, message: str, key: str
) -> None:
    fake.chunks = [(status, message)]
    assert await refusal(vllm, fake) == (key, [])


async def test_a_dead_engine_inside_a_stream_keeps_what_came(vllm: VllmInference, fake: FakeVllm) -> None:
    fake.chunks = [word("par"), word("tial"), {"error": {"message": "EngineCore died"}}, "[DONE]"]
    assert await refusal(vllm, fake) == ("ask.engine_died", ["par", "tial"])


async def test_tokens_that_gather_while_many_answer_are_not_lost_when_it_breaks(
    vllm: VllmInference, fake: FakeVllm
) -> None:
    fake.chunks = [word("par"), word("tial"), {"error": {"message": "EngineCore died"}}, "[DONE]"]
    broken = await asyncio.gather(*(refusal(vllm, fake) for _ in range(30)))
    assert {"".join(got) for _, got in broken} == {"partial"}


async def test_a_dropped_connection_keeps_what_came(vllm: VllmInference, fake: FakeVllm) -> None:
    fake.chunks = [word("par"), "cut"]
    assert await refusal(vllm, fake) == ("ask.engine_died", ["par"])


async def test_nobody_listens(vllm: VllmInference, fake: FakeVllm) -> None:
    await fake.stop()
    assert await refusal(vllm, fake) == ("ask.unreachable", [])
    await fake.start()


async def test_the_first_token_and_the_next_have_limits_of_their_own(
    vllm: VllmInference, fake: FakeVllm
) -> None:
    fake.chunks, fake.pause = [*map(word, "abcd"), USAGE, "[DONE]"], 0.5
    assert len(await collect(vllm, fake)) == 5  # longer than either limit, but never silent for long

    fake.chunks, fake.pause = [word("late")], 30
    assert await refusal(vllm, fake) == ("ask.no_first_token", [])

    fake.pause = 1.5
    fake.chunks = [word("a"), word("b")]
    assert await refusal(vllm, fake) == ("ask.stalled", ["a"])


async def test_a_reader_who_takes_its_time_gets_everything(vllm: VllmInference, fake: FakeVllm) -> None:
    fake.chunks = [word("a"), word("b"), USAGE, "[DONE]"]
    got = []
    async for piece in vllm.answer(Endpoint(fake.url, "m", "secret"), TURNS, Sampling()):
        got.append(piece.text)
        await asyncio.sleep(1.2)  # longer than the server may be silent
    assert "".join(got) == "ab"


async def test_a_closed_answer_ends_generation(vllm: VllmInference, fake: FakeVllm) -> None:
    fake.chunks, fake.pause = [word("x")] * 1000, 0.01
    answer = vllm.answer(Endpoint(fake.url, "m", "secret"), TURNS, Sampling())
    assert (await anext(answer)).text == "x" and fake.streaming == 1
    await answer.aclose()
    await eventually(lambda: fake.streaming == 0)


async def test_figures_of_both_engines(vllm: VllmInference, fake: FakeVllm) -> None:
    endpoint = Endpoint(fake.url, "m", "secret")
    assert await vllm.load(endpoint.url) == Load(2, 1, 123.0)
    fake.metrics = V1
    assert await vllm.load(endpoint.url) == Load(2, 0, 12.0)
    fake.metrics = "\n".join(line for line in V1.splitlines() if "tokens_total" not in line)
    assert await vllm.load(endpoint.url) is None  # nobody knows whether it was used in between
    fake.metrics = "not prometheus at all {"
    assert await vllm.load(endpoint.url) is None
    await fake.stop()
    assert await vllm.load(endpoint.url) is None
    await fake.start()


async def test_tokens_are_counted_by_the_server(vllm: VllmInference, fake: FakeVllm) -> None:
    assert await vllm.count_tokens(Endpoint(fake.url, "m", "secret"), TURNS) == 20
