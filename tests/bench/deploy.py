"""On a real API server: deploy against kubectl apply, status against kubectl get."""

import asyncio
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bot.app import wiring
from bot.app.application import App
from bot.app.clock import SystemClock
from bot.app.engines import ENGINE
from bot.app.settings import Settings
from bot.cluster.manifests import ApiKey, WorkloadSettings, workload_objects
from bot.core.chat.message import Message, Place, User
from bot.core.chat.text import Phrasebook
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Spec
from bot.engines.vllm.inference import VllmInference
from bot.platforms.console.render import render
from tests.bench import missing, row
from tests.conftest import Chat, eventually
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, real_world

TIMES = 10
MANY = 200
RECORD = Record(owner="ada", owner_name="ada", start_requested_at=datetime(2030, 1, 1, tzinfo=UTC))


def spec(name: str) -> Spec:
    """One GPU."""
    return Spec(name=name, model="tinyllama", repo="TinyLlama/TinyLlama-1.1B-Chat-v1.0", max_model_len=2048)


async def measure() -> list[dict[str, Any]]:
    """Both on one server, one after the other."""
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        return [missing("deploy, status against kubectl", "KUBEBUILDER_ASSETS")]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        plane = ControlPlane(Path(os.environ["KUBEBUILDER_ASSETS"]), Path(folder))
        try:
            plane.start()
            async with real_world(plane, Path(folder)) as world:
                return [await _deploy(world), await _status(world), await _sleep(world)]
        finally:
            plane.stop()


async def _deploy(world: RealWorld) -> dict[str, Any]:
    ours, theirs = [], []
    for number in range(TIMES + 1):  # the first one warms up
        begun = time.perf_counter()
        await world.cluster.create(spec(f"ours-{number}"), RECORD)
        ours.append(time.perf_counter() - begun)
        settings = WorkloadSettings(namespace=world.namespace)
        key = ApiKey(f"llm-theirs-{number}", "key")
        objects = workload_objects(spec(f"theirs-{number}"), RECORD, settings, ENGINE, key)
        text = yaml.safe_dump_all(objects.values())
        begun = time.perf_counter()
        await asyncio.to_thread(world.plane.kubectl, "apply", "-f", "-", stdin=text)
        theirs.append(time.perf_counter() - begun)
        await world.cluster.remove(f"ours-{number}")
        await asyncio.to_thread(
            world.plane.kubectl, "delete", "deployment", f"llm-theirs-{number}", "-n", world.namespace
        )
    our, their = statistics.median(ours[1:]), statistics.median(theirs[1:])
    detail = f"{our * 1000:.0f} ms against {their * 1000:.0f} ms, median of {TIMES}"
    return row("deploy : kubectl apply", our / their, 0.2, detail)


async def _status(world: RealWorld) -> dict[str, Any]:
    for number in range(MANY):
        await world.cluster.create(spec(f"m-{number}"), RECORD)
    await eventually(lambda: len(world.cluster.workloads()) == MANY, 60)
    async with asyncio.timeout(120):
        while len(await world.names("pods")) < MANY:
            await asyncio.sleep(0.5)
    inference, settings = VllmInference(), Settings(_env_file=None)
    built = wiring.build(settings, world.cluster, inference, Chat(), SystemClock())
    phrases = wiring.phrasebook(settings)
    ours, theirs = [], []
    for _ in range(TIMES):
        begun = time.perf_counter()
        await _say(built, phrases)
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await asyncio.to_thread(world.plane.kubectl, "get", "deploy,pods", "-A")
        theirs.append(time.perf_counter() - begun)
    await inference.close()
    our, their = statistics.median(ours), statistics.median(theirs)
    detail = f"{our * 1000:.1f} ms, drawn, against {their * 1000:.0f} ms"
    for number in range(MANY):
        await world.cluster.remove(f"m-{number}")
    return row(f"status of {MANY} : kubectl get", our / their, 0.1, detail)


async def _say(built: App, phrases: Phrasebook) -> None:
    message = Message("status", User("ada", "ada"), Place("bench", "x"))
    async for reply in built.dispatcher.handle(message):
        assert reply.table and len(reply.table.rows) == MANY
        render(reply, lambda text: phrases.say(text, "en"))


async def _sleep(world: RealWorld) -> dict[str, Any]:
    """From a verdict until the API server has replicas 0, at the version that the verdict was about."""
    times = []
    for number in range(TIMES):
        await world.cluster.create(spec(f"s-{number}"), RECORD)
        name = f"s-{number}"
        await eventually(lambda: any(w.ready_replicas for w in world.cluster.workloads()))
        await asyncio.sleep(1)  # its last events are in the mirror
        [workload] = world.cluster.workloads()
        begun = time.perf_counter()
        await world.cluster.scale(name, 0, version=workload.version)
        times.append(time.perf_counter() - begun)
        assert world.cluster.workloads()[0].replicas == 0
        await world.cluster.remove(name)
    value = statistics.median(times)
    return row("from verdict to replicas 0, s", value, 1, f"slowest {max(times) * 1000:.0f} ms")
