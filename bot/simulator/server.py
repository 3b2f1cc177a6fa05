"""A small server that answers like vLLM, for all simulated models, each under a path of its own."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from aiohttp import web

from bot.core.chat.errors import UserError
from bot.core.deployment.names import object_name
from bot.core.deployment.workload import Phase, Workload
from bot.simulator.cluster import SimulatedCluster

ANSWER = (
    "I am {model}, or rather a simulation of it: no GPU was used for these words. "
    "You asked: “{question}” "
    "A real model would answer here, token by token, as this text comes to you now. "
    "What you can see is how it feels: the answer begins at once, follow-up questions keep the "
    "conversation, and a small line at the end counts the tokens."
)
CHARACTERS_PER_TOKEN = 4


class SimulatedServer:
    """The servers of all simulated models, on one port of this machine.

    `pause` are the seconds between two tokens; with `v1` the metrics have the names of vLLM's engine V1."""

    def __init__(self, cluster: SimulatedCluster, pause: float = 0.02, *, v1: bool = False) -> None:
        self.misbehave: dict[str, str] = {}
        """What goes wrong, by name of the model: `dies`, `silent`, `garbled`, `wordless`, `no-template` or
        `http-500`."""
        self._cluster = cluster
        self.pause = pause
        """Seconds between two tokens."""
        self._v1 = v1
        self.running: Counter[str] = Counter()
        """Requests in flight, by name of the model, as /metrics tells."""
        self.tokens: Counter[str] = Counter()
        """Tokens generated since the start, likewise."""
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen on a free port of this machine, and return the address."""
        app = web.Application()
        app.router.add_get("/{service}/health", self._guarded(self._health))
        app.router.add_get("/{service}/metrics", self._guarded(self._metrics))
        app.router.add_post("/{service}/tokenize", self._guarded(self._tokenize))
        app.router.add_get("/{service}/v1/models", self._guarded(self._models))
        app.router.add_post("/{service}/v1/chat/completions", self._guarded(self._chat))
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        """Close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _guarded(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        """A handler that answers only for ready models, and under /v1 only with their key."""

        async def handle(request: web.Request) -> web.StreamResponse:
            service = request.match_info["service"]
            workload = next((w for w in self._cluster.workloads() if object_name(w.name) == service), None)
            if workload is None or workload.phase is not Phase.READY:
                return web.json_response({"error": "no endpoints"}, status=503)
            try:
                key = (await self._cluster.endpoint(workload.name)).api_key
            except UserError:
                return web.json_response({"error": "no endpoints"}, status=503)
            authorization = request.headers.get("Authorization")
            if "/v1/" in request.path and authorization != f"Bearer {key}":
                return web.json_response({"error": "Unauthorized"}, status=401)
            response: web.StreamResponse = await answer(request, workload)
            return response

        return handle

    async def _health(self, request: web.Request, workload: Workload) -> web.Response:
        return web.Response()

    async def _models(self, request: web.Request, workload: Workload) -> web.Response:
        model = {
            "id": workload.name,
            "object": "model",
            "owned_by": "vllm",
            "root": workload.spec.repo,
            "max_model_len": workload.spec.max_model_len,
        }
        return web.json_response({"object": "list", "data": [model]})

    async def _metrics(self, request: web.Request, workload: Workload) -> web.Response:
        name = workload.name
        labels = f'model_name="{name}",engine="0"' if self._v1 else f'model_name="{name}"'
        cache = "kv_cache_usage_perc" if self._v1 else "gpu_cache_usage_perc"
        lines = [
            f"vllm:num_requests_running{{{labels}}} {float(self.running[name])}",
            f"vllm:num_requests_waiting{{{labels}}} 0.0",
            f"vllm:{cache}{{{labels}}} 0.01",
            f"vllm:prompt_tokens_total{{{labels}}} 0.0",
            f"vllm:generation_tokens_total{{{labels}}} {float(self.tokens[name])}",
        ]
        return web.Response(text="\n".join(lines) + "\n")

    async def _tokenize(self, request: web.Request, workload: Workload) -> web.Response:
        body = await request.json()
        return web.json_response(
            {"count": _tokens(body["messages"]), "max_model_len": workload.spec.max_model_len}
        )

    async def _chat(self, request: web.Request, workload: Workload) -> web.StreamResponse:
        body = await request.json()
        if refusal := self._refusal(body, workload):
            return refusal
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        self.running[workload.name] += 1
        try:
            with suppress(ConnectionResetError):  # the client has gone
                await self._stream(stream, body, workload)
        finally:
            self.running[workload.name] -= 1
        return stream

    def _refusal(self, body: dict[str, Any], workload: Workload) -> web.Response | None:
        misbehaviour = self.misbehave.get(workload.name)
        length, tokens = workload.spec.max_model_len, _tokens(body["messages"])
        if body["model"] != workload.name:
            return _error(404, f"The model `{body['model']}` does not exist.")
        if misbehaviour == "no-template":
            return _error(
                400,
                "default chat template is no longer allowed, so you must provide a chat template",
            )
        if misbehaviour == "http-500":
            return _error(500, "Internal Server Error")
        if tokens > length:
            limit = f"This model's maximum context length is {length} tokens. However, your prompt"
            return _error(400, f"{limit} contains {tokens} tokens.")
        return None

    async def _stream(self, stream: web.StreamResponse, body: dict[str, Any], workload: Workload) -> None:
        misbehaviour = self.misbehave.get(workload.name)
        question = body["messages"][-1]["content"]
        words = list(_pieces(ANSWER.format(model=workload.name, question=question[:200])))
        limit = body.get("max_tokens") or len(words)
        for number, word in enumerate(words[:limit]):
            await asyncio.sleep(3600 if misbehaviour == "silent" and number == 5 else self.pause)
            if misbehaviour == "dies" and number == 5:
                await _send(stream, {"error": {"message": "EngineCore encountered an issue"}})
                break
            word = {"garbled": "!", "wordless": ""}.get(misbehaviour or "", word)
            self.tokens[workload.name] += 1
            last = "length" if number + 1 == limit < len(words) else None
            finish = "stop" if number + 1 == len(words) else last
            await _send(stream, {"choices": [{"delta": {"content": word}, "finish_reason": finish}]})
        else:
            used = {"prompt_tokens": _tokens(body["messages"]), "completion_tokens": number + 1}
            await _send(stream, {"choices": [], "usage": used})
        await stream.write(b"data: [DONE]\n\n")


async def _send(stream: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await stream.write(f"data: {json.dumps(chunk)}\n\n".encode())


def _pieces(text: str) -> Iterator[str]:
    for number, word in enumerate(text.split(" ")):
        yield word if number == 0 else f" {word}"


def _tokens(messages: list[dict[str, str]]) -> int:
    return sum(len(message["content"]) // CHARACTERS_PER_TOKEN + 4 for message in messages)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)
