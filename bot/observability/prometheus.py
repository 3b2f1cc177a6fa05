"""Figures from the cluster's Prometheus: DCGM's of GPUs, and the kubelets' of volumes."""

import asyncio
from collections.abc import Mapping
from math import isfinite

import aiohttp
import structlog
from pydantic import BaseModel

from bot.core.ports import Figures

SECONDS = 5.0
"""How long an answer may take."""
BYTES = 2**24
"""How long it may be: 50,000 series of 300 bytes."""
BUSY = (
    "max_over_time(DCGM_FI_DEV_GPU_UTIL[10m]) / 100",
    "max_over_time(DCGM_FI_PROF_GR_ENGINE_ACTIVE[10m])",
)
"""Queries for how busy a GPU is, from 0 to 1; the larger value counts, because the second metric is missing
on V100s and may stay at 0 under load (dcgm-exporter #550, #662)."""
FAULTS = "DCGM_FI_DEV_XID_ERRORS > 0"
VOLUMES = "kubelet_volume_stats_used_bytes{where} / kubelet_volume_stats_capacity_bytes{where}"
Labels = Mapping[str, str]

log = structlog.get_logger()


class _Series(BaseModel):
    metric: dict[str, str]
    value: tuple[float, float]
    """When, and the value, which Prometheus writes as a text."""


class _Result(BaseModel):
    result: list[_Series]


class _Answer(BaseModel):
    """Of an instant query; the rest of it is ignored."""

    data: _Result


class Prometheus:
    """Asks the Prometheus at an address, given without `/api`. What it does not say is missing in the
    figures."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url.rstrip("/"), namespace
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()

    async def figures(self) -> Figures:
        """The figures as of now; empty if it cannot be reached."""
        queries = (*BUSY, FAULTS, VOLUMES.format(where=f'{{namespace="{self._namespace}"}}'))
        dev, prof, faults, volumes = await asyncio.gather(*map(self._ask, queries))
        busy: dict[str, float] = {}
        for labels, value in (*dev, *prof):
            if pod := _pod(labels):
                busy[pod] = max(value, busy.get(pod, 0.0))
        return Figures(
            busy,
            {_node(labels): int(value) for labels, value in faults},
            {claim: value for labels, value in volumes if (claim := labels.get("persistentvolumeclaim"))},
        )

    async def _ask(self, query: str) -> list[tuple[Labels, float]]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS))
        try:
            url = f"{self._url}/api/v1/query"
            async with self._session.get(url, params={"query": query}, allow_redirects=False) as answer:
                told = _Answer.model_validate_json(await _read(answer))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            log.warning("prometheus.away", why=type(error).__name__)
            return []
        values = [(series.metric, series.value[1]) for series in told.data.result]
        return [(labels, value) for labels, value in values if isfinite(value)]


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The body; ValueError if it is longer than BYTES."""
    body = bytearray()
    async for part in answer.content.iter_chunked(2**16):
        body += part
        if len(body) > BYTES:
            raise ValueError("too long")
    return bytes(body)


def _pod(labels: Labels) -> str:
    """`namespace/pod`, or empty. Prometheus renames the exporter's labels unless it is set to honour them."""
    namespace = labels.get("exported_namespace") or labels.get("namespace")
    pod = labels.get("exported_pod") or labels.get("pod")
    return f"{namespace}/{pod}" if namespace and pod else ""


def _node(labels: Labels) -> str:
    return labels.get("Hostname") or labels.get("node") or labels.get("instance", "?")
