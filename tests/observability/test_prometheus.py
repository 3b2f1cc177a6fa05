"""What the cluster's Prometheus says, over HTTP; and nothing when it says nothing."""

import pytest
import pytest_asyncio
from aiohttp import web

from bot.core.ports import Figures
from bot.observability.prometheus import Prometheus

ANSWERS = {
    "DCGM_FI_DEV_GPU_UTIL": [
        ({"exported_namespace": "demo", "exported_pod": "a", "pod": "dcgm-1", "namespace": "gpu"}, "0.02"),
        ({"exported_namespace": "demo", "exported_pod": "a", "gpu": "1"}, "0.71"),
        ({"namespace": "demo", "pod": "b"}, "0"),
        ({"gpu": "3"}, "0.5"),
    ],
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": [({"namespace": "demo", "pod": "b"}, "0.4")],
    "DCGM_FI_DEV_XID_ERRORS": [({"Hostname": "icc-gpu-1"}, "79")],
    "kubelet_volume_stats": [({"persistentvolumeclaim": "llm-models"}, "0.91")],
}


@pytest_asyncio.fixture
async def prometheus(monkeypatch):
    """`behave` is what it answers: `well`, or how it misbehaves."""
    behave = {"how": "well"}

    async def query(request: web.Request) -> web.Response:
        asked = request.query["query"]
        if behave["how"] == "html":
            return web.Response(text="<html>", content_type="text/html")
        if behave["how"] == "error":
            return web.json_response({"status": "error", "error": "bad_data"}, status=400)
        [found] = [rows for name, rows in ANSWERS.items() if name in asked]
        assert "kubelet" not in asked or asked.count('{namespace="demo"}') == 2
        result = [{"metric": labels, "value": [1.5, value]} for labels, value in found]
        return web.json_response({"status": "success", "data": {"result": result}})

    server = web.Application()
    server.router.add_get("/api/v1/query", query)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client = Prometheus(f"http://127.0.0.1:{runner.addresses[0][1]}/", "demo")
    yield client, behave, runner
    await client.close()
    await runner.cleanup()


async def test_figures_by_pod_node_and_volume(prometheus):
    figures = await prometheus[0].figures()
    assert figures.busy == {"demo/a": 0.71, "demo/b": 0.4}  # the higher of both, whichever labels it has
    assert figures.faults == {"icc-gpu-1": 79} and figures.volumes == {"llm-models": 0.91}


@pytest.mark.parametrize("how", ["html", "error", "away"])
async def test_a_prometheus_that_does_not_answer_says_nothing(prometheus, how):
    client, behave, runner = prometheus
    behave["how"] = how
    if how == "away":
        await runner.cleanup()
    assert await client.figures() == Figures()
