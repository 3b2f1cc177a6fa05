"""What the cluster's Prometheus says, over HTTP; and nothing when it says nothing."""

from collections.abc import AsyncIterator

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
        ({"namespace": "demo", "pod": "c"}, "NaN"),
    ],
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": [({"namespace": "demo", "pod": "b"}, "0.4")],
    "DCGM_FI_DEV_XID_ERRORS": [({"Hostname": "icc-gpu-1"}, "79"), ({"Hostname": "icc-gpu-2"}, "+Inf")],
    "kubelet_volume_stats": [({"persistentvolumeclaim": "llm-models"}, "0.91"), ({}, "0.5")],
}


class FakePrometheus:
    """`how` is what it answers: `well`, or how it misbehaves; `away` is not there."""

    def __init__(self) -> None:
        self.how = "well"

    async def start(self) -> str:
        """Its address."""
        server = web.Application()
        server.router.add_get("/api/v1/query", self._query)
        self._runner = web.AppRunner(server)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _query(self, request: web.Request) -> web.Response:
        asked = request.query["query"]
        if self.how == "html":
            return web.Response(text="<html>", content_type="text/html")
        if self.how == "error":
            return web.json_response({"status": "error", "error": "bad_data"}, status=400)
        [found] = [rows for name, rows in ANSWERS.items() if name in asked]
        assert "kubelet" not in asked or asked.count('{namespace="demo"}') == 2
        result = [{"metric": labels, "value": [1.5, value]} for labels, value in found]
        return web.json_response({"status": "success", "data": {"result": result}})


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakePrometheus]:
    fake = FakePrometheus()
    yield fake
    await fake.stop()


@pytest_asyncio.fixture
async def prometheus(fake: FakePrometheus) -> AsyncIterator[Prometheus]:
    client = Prometheus(await fake.start(), "demo")
    yield client
    await client.close()


async def test_figures_by_pod_node_and_volume(prometheus: Prometheus) -> None:
    figures = await prometheus.figures()
    assert figures.busy == {"demo/a": 0.71, "demo/b": 0.4}  # the higher of both, whichever labels it has
    assert figures.faults == {"icc-gpu-1": 79} and figures.volumes == {"llm-models": 0.91}


@pytest.mark.parametrize("how", ["html", "error", "away"])
async def test_a_prometheus_that_does_not_answer_says_nothing(
    fake: FakePrometheus, prometheus: Prometheus, how: str
) -> None:
    fake.how = how
    if how == "away":
        await fake.stop()
    assert await prometheus.figures() == Figures()
