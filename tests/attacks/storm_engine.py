"""Engines for the storm: every model's server on one port, at work while a pod of the model is ready."""

import asyncio
import base64
import json
import random
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from bot.cluster.client import Api
from bot.core.chat.errors import UserError
from tests.real.pod_status import Json

WORD = re.compile(r"word-\d+")
"""What a question asks back for."""
METRICS = "".join(
    f'vllm:{name}{{model_name="m"}} 0.0\n'
    for name in (
        "num_requests_running",
        "num_requests_waiting",
        "prompt_tokens_total",
        "generation_tokens_total",
    )
)


class StormEngines:
    """`launch` is what the test kubelet starts as a container; a server answers whoever shows its pod's key
    by the word that was asked for."""

    def __init__(self, chance: random.Random) -> None:
        self.api: Api | None = None
        """An admin's."""
        self._chance = chance
        self._keys: dict[str, dict[str, str]] = {}
        """Keys that are let in, by workload and pod."""

    async def start(self) -> str:
        """The template of the models' addresses."""
        app = web.Application()
        app.router.add_get("/{model}/metrics", self._metrics)
        app.router.add_post("/{model}/v1/chat/completions", self._answer)
        app.router.add_route("*", "/{model}/{rest:.*}", self._nothing)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/{{service}}"

    async def stop(self) -> None:
        """Close everything."""
        await self._runner.cleanup()

    async def launch(self, pod: Json, log: Callable[[str], None]) -> Callable[[], Awaitable[None]]:
        """As a kubelet: wait until the Secret of its environment is there; then it loads."""
        name, uid = pod["metadata"]["labels"]["llm-bot/workload"], pod["metadata"]["uid"]
        key = await self._key(pod)
        await asyncio.sleep(self._chance.uniform(0.2, 1.5))
        self._keys.setdefault(name, {})[uid] = key
        log("INFO:     Application startup complete.")

        async def end() -> None:
            self._keys[name].pop(uid, None)

        return end

    async def _key(self, pod: Json) -> str:
        variables = pod["spec"]["containers"][0]["env"]
        named = next(v for v in variables if v["name"] == "VLLM_API_KEY")["valueFrom"]["secretKeyRef"]
        assert self.api is not None
        while True:
            with suppress(UserError):
                path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/secrets/{named['name']}"
                return base64.b64decode((await self.api.request("GET", path))["data"][named["key"]]).decode()
            await asyncio.sleep(0.3)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        self._let_in(request, "")
        return web.Response(text=METRICS)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._let_in(request, request.headers.get("Authorization", ""))
        asked = (await request.json())["messages"][-1]["content"]
        found = WORD.search(asked)
        delta = {"role": "assistant", "content": found[0] if found else "hello"}
        choices = [{"index": 0, "delta": delta, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        common = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunks = [common | {"choices": choices}, common | {"choices": [], "usage": usage}]
        said = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        return web.Response(text=f"{said}data: [DONE]\n\n", content_type="text/event-stream")

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        self._let_in(request, "")
        return web.Response(status=404)

    def _let_in(self, request: web.Request, shown: str) -> None:
        """Whoever has the key; where no pod is ready, nobody listens."""
        keys = self._keys.get(request.match_info["model"], {})
        if not keys and isinstance(request.transport, asyncio.Transport):
            request.transport.abort()
        if shown and shown.removeprefix("Bearer ") not in keys.values():
            raise web.HTTPUnauthorized
