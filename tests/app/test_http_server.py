"""What Kubernetes, people and Prometheus ask by HTTP."""

import aiohttp

from bot.app.http_server import HttpServer


async def test_health_names_what_is_down_and_liveness_does_not_care() -> None:
    down: list[str] = []
    ready = [False]
    server = HttpServer("127.0.0.1", 0, ready=lambda: ready[0], down=lambda: down, endpoints={})
    await server.start()

    async def get(path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(url + path) as answer:
            return answer.status, await answer.text()

    url = f"http://127.0.0.1:{server.port}"
    try:
        assert await get("/healthz") == (200, "ok")
        down += ["cards", "pods"]
        assert await get("/healthz") == (503, "cards\npods\n")
        assert await get("/livez") == (200, "ok")
        assert (await get("/readyz"))[0] == 503
        ready[0] = True
        assert await get("/readyz") == (200, "ready")
        assert "llm_bot_" in (await get("/metrics"))[1]
    finally:
        await server.stop()
