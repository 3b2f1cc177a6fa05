"""Models whose annotations hold nonsense: each is shown or said to be unreadable, and nothing else breaks."""

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bot.app import wiring
from bot.app.application import App
from bot.app.gauges import Gauges
from bot.app.settings import Settings
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.manifests import WorkloadSettings
from bot.core.chat.languages import LOCALES
from bot.core.chat.message import Message, Turn, User
from bot.core.chat.text import Phrasebook
from bot.core.ports import Endpoint, Load, Piece, Sampling
from bot.engines.vllm.engine import Vllm
from bot.platforms.console.render import render
from tests.cluster.objects import deployment, node, pod
from tests.conftest import THREAD, Chat, Clock
from tests.fakes.kubernetes import FakeKubernetes
from tests.records import FULL

DEPLOYMENTS, PODS = "/apis/apps/v1/namespaces/demo/deployments", "/api/v1/namespaces/demo/pods"
MODELS = [f"m{number}" for number in range(6)]
ANNOTATIONS = sorted(
    name for name in deployment(record=FULL)["metadata"]["annotations"] if "llm-bot/" in name
)
VALUES = (
    *("", "0", "-1", "null", "true", "NaN", "Infinity", "[]", "{}", "[[[", '"x"', "mo-fr 25-99", "so 8-8"),
    *("1e400", "9" * 400, "x" * 50_000, "\u202e\u2028", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"),
    *("2199-12-31T00:00:00Z", "2000-01-01T00:00:00Z", "P3650D", "P999999999D", "PT0.000001S", "-P1D"),
    *('{"platform": "x", "channel": "y"}', '{"reason": "idle", "slept_at": "2199-01-01T00:00:00Z"}'),
    *('{"m": {"platform": "test", "channel": "C"}}', '{"a": {"who": "{x}", "at": "2199-01-01T00:00:00Z"}}'),
    json.dumps(
        {"number": 10**9, "run": "/-1", "at": "2000-01-01T00:00:00Z", "cause": "{unknown}", "alike": 10**9}
    ),
    json.dumps([{"waiting": 0, "pulling": None, "downloading": 0, "loading": 864000}] * 50),
)
"""What may stand in any annotation."""
SPECS = {
    "tensor_parallel_size": 10**9,
    "replicas": 10**9,
    "max_model_len": 1,
    "weights_gib": 1e9,
    "model": "{x}",
}
"""Values of a spec that are as large or odd as they may be."""


class Silent:
    """An Inference whose servers say nothing."""

    async def answer(
        self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        yield Piece("hello")

    async def count_tokens(self, endpoint: Endpoint, turns: Sequence[Turn]) -> int | None:
        return None

    async def load(self, url: str) -> Load | None:
        return None


Change = tuple[int, str, dict[str, int]]
"""What is odd about a model: replicas, a field of its spec (or none), annotations by places of VALUES."""
CHANGES = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["", *sorted(SPECS)]),
    st.dictionaries(st.sampled_from(ANNOTATIONS), st.integers(0, len(VALUES) - 1), max_size=3),
)


def changed(name: str, change: Change) -> dict[str, Any]:
    """The Deployment of a model with nonsense in some annotations."""
    replicas, field, places = change
    made = deployment(name, replicas=replicas, record=FULL)
    annotations = made["metadata"]["annotations"]
    if field:
        spec = json.loads(annotations["llm-bot/spec"]) | {field: SPECS[field]}
        annotations["llm-bot/spec"] = json.dumps(spec)
    annotations |= {annotation: VALUES[place] for annotation, place in places.items()}
    return made


async def asked(app: App, line: str) -> str:
    """What is said to it, in both languages."""
    phrases, told = Phrasebook(LOCALES, app.services.clock.now), []
    async for reply in app.dispatcher.handle(Message(line, User("grace", "grace", "en"), THREAD)):
        told += [render(reply, phrases.speaker(language)) for language in ("en", "de")]
    return "\n".join(told)


async def attacked(made: list[dict[str, Any]], folder: Path) -> None:
    kubernetes, clock, chat = FakeKubernetes(), Clock(), Chat()
    url = await kubernetes.start()
    for found in made:
        await kubernetes.put(DEPLOYMENTS, found)
    for name in MODELS[:3]:
        await kubernetes.put(PODS, pod(name, ready=True))
    await kubernetes.put("/api/v1/nodes", node("gpu-1"))
    told = Settings(
        _env_file=None, admins=frozenset({"grace"}), database_url="sqlite://", admin_channel="slack:C1"
    )
    config = kubernetes.kubeconfig(folder)
    try:
        async with KubernetesCluster(config, WorkloadSettings(namespace="demo"), url, Vllm()) as cluster:
            app = wiring.build(told, cluster, Silent(), chat, clock)
            seen = {workload.name for workload in cluster.workloads()}
            unreadable = {*cluster.unreadable(), *cluster.written_by_newer()}
            assert {f"llm-{name}" for name in seen} | unreadable == {f"llm-{name}" for name in MODELS}
            for line in (
                "status",
                "gpus",
                "home",
                "alerts",
                *(f"{v} {n}" for n in MODELS for v in ("status", "why")),
            ):
                assert "Something broke" not in await asked(app, line), line
            with capture_logs() as logs:
                await app.tick()
            assert [family.name for family in Gauges(app).collect()]
            assert [entry for entry in logs if entry["event"] == "work.failed"] == []
            for name in sorted(unreadable):  # never touched
                assert kubernetes.asked("PATCH", name) == kubernetes.asked("DELETE", name) == []
            await app.close()
    finally:
        await kubernetes.stop()


@hypothesis_settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(st.tuples(*[CHANGES] * len(MODELS)))
def test_nonsense_in_annotations_is_shown_or_said_to_be_unreadable(changes: tuple[Change, ...]) -> None:
    made = [changed(name, change) for name, change in zip(MODELS, changes, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(attacked(made, Path(folder)))
