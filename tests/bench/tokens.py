"""Tokens through the bot against a bare loop over AsyncOpenAI, on one real vLLM."""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from bot.app import wiring
from bot.app.settings import Settings
from bot.core.chat.message import Message, Place, User
from bot.core.ports import Endpoint
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.bench import missing, row
from tests.conftest import Chat, Clock
from tests.real.vllm import VllmContainers, make_model

NAME, KEY = "tinyllama", "bench-key"
TOKENS = 200
ROUNDS = 24


class OneModel(SimulatedCluster):
    """The simulator, but its model answers on a real server."""

    async def endpoint(self, name: str) -> Endpoint:
        return Endpoint(self.url, NAME, KEY)


async def measure() -> list[dict[str, Any]]:
    """One answer and fifty at once: throughput, CPU per token, time to the first token."""
    if not os.environ.get("VLLM_BIN"):
        return [missing("tokens through the bot", "VLLM_BIN")]
    binary = Path(os.environ["VLLM_BIN"])
    with tempfile.TemporaryDirectory() as folder:
        containers = VllmContainers(binary, make_model(binary, Path(folder)))
        end = await containers.serve(NAME, "2048", KEY)
        os.sched_setaffinity(0, set(range(1, os.cpu_count() or 2)))
        try:
            return await _compare(containers.url)
        finally:
            await end()


async def _compare(url: str) -> list[dict[str, Any]]:
    clock = Clock()
    cluster = OneModel(clock, url=url)
    inference = VllmInference()
    settings = Settings(_env_file=None, admins=frozenset({"ada"}))
    built = wiring.build(settings, cluster, inference, Chat(), clock)
    async for _ in built.dispatcher.handle(_message(f"deploy {NAME}")):
        pass
    clock.advance(seconds=600)
    cluster.step()
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY)

    async def ours() -> float:
        begun, first = time.perf_counter(), 0.0
        line = f"ask {NAME} temp=1 max-tokens={TOKENS} tell me about nodes"
        async for reply in built.dispatcher.handle(_message(line)):
            first = first or time.perf_counter() - begun
            assert reply.answer or reply.footnote
        return first

    async def bare() -> float:
        begun, first = time.perf_counter(), 0.0
        stream = await client.chat.completions.create(
            model=NAME,
            messages=[{"role": "user", "content": "tell me about nodes"}],
            temperature=1,
            max_tokens=TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                first = first or time.perf_counter() - begun
        return first

    rows = []
    for at_once in (1, 50):
        rows += await _rows(at_once, ours, bare)
    await inference.close()
    await client.close()
    return rows


Run = Callable[[], Coroutine[None, None, float]]
"""One answer; the seconds until its first token."""


async def _rows(at_once: int, ours: Run, bare: Run) -> list[dict[str, Any]]:
    found: dict[str, list[tuple[float, float, float]]] = {"ours": [], "bare": []}
    for number in range(ROUNDS + 1):
        pair = [("ours", ours), ("bare", bare)]
        for name, run in pair if number % 2 else reversed(pair):  # neither always goes first
            begun, begun_cpu = time.perf_counter(), time.process_time()
            firsts = await asyncio.gather(*(run() for _ in range(at_once)))
            took, used = time.perf_counter() - begun, time.process_time() - begun_cpu
            if number:
                found[name].append((took, used, statistics.median(firsts)))
    our, their = (
        [statistics.median(column) for column in zip(*found[n], strict=True)] for n in ("ours", "bare")
    )
    neighbours = zip(found["bare"], found["ours"], strict=True)  # a machine's speed drifts: compare what ran
    ratio = statistics.median(one[0] / other[0] for one, other in neighbours)  # one after the other
    total = TOKENS * at_once
    rate = f"{total / our[0]:.0f} against {total / their[0]:.0f} tokens/s"
    cpu = f"{our[1] / total * 1e6:.0f} against {their[1] / total * 1e6:.0f} µs per token"
    first = f"{our[2] * 1000:.1f} against {their[2] * 1000:.1f} ms"
    return [
        row(f"throughput, {at_once} at once : bare loop", ratio, 1.0, rate, most=False),
        row(f"CPU per token, {at_once} at once : bare loop", our[1] / their[1], 1.0, cpu),
        row(f"added time to first token, {at_once} at once, ms", (our[2] - their[2]) * 1000, 10, first),
    ]


def _message(line: str) -> Message:
    return Message(line, User("ada", "ada"), Place("bench", "x"))
