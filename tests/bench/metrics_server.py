"""A process for the bench: `/MODEL/metrics` of any model, at rest, and a short answer of it; `/scrapes`
tells how often metrics were asked for."""

import asyncio
import json
import sys

from aiohttp import web

FIGURES = "\n".join(
    f'vllm:{name}{{model_name="m",engine="0"}} {value}'
    for name, value in (
        ("num_requests_running", 0.0),
        ("num_requests_waiting", 0.0),
        ("kv_cache_usage_perc", 0.01),
        ("prompt_tokens_total", 100.0),
        ("generation_tokens_total", 200.0),
    )
)
FIRST_TOKEN = 0.05
"""Seconds until an answer begins."""


async def answer(request: web.Request) -> web.StreamResponse:
    """As the OpenAI API streams it."""
    await asyncio.sleep(FIRST_TOKEN)
    choice = {"index": 0, "delta": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
    piece = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return web.Response(
        text=f"data: {json.dumps(piece)}\n\ndata: [DONE]\n\n", content_type="text/event-stream"
    )


async def main(port: int) -> None:
    """Until it is killed."""
    scrapes = 0

    async def metrics(request: web.Request) -> web.Response:
        nonlocal scrapes
        scrapes += 1
        return web.Response(text=FIGURES + "\n")

    async def count(request: web.Request) -> web.Response:
        return web.Response(text=str(scrapes))

    app = web.Application()
    app.router.add_get("/scrapes", count)
    app.router.add_get("/{model}/metrics", metrics)
    app.router.add_post("/{model}/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
