"""The bot as a process on a real API server, with 500 models: from an event to its message, from ready to
the first token, at rest, and when all of them fail."""

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from bot.cluster.state_store import KEY, NAME
from bot.core.alerts.state import AlertState
from tests.bench import missing, row
from tests.bench.deploy import RECORD, spec
from tests.bench.mattermost import PROXIES
from tests.bench.metrics_server import FIRST_TOKEN
from tests.bench.slack import memory
from tests.bench.sweep import endpoints
from tests.conftest import eventually
from tests.fakes.mattermost import TOKEN, FakeMattermost
from tests.real.control_plane import ControlPlane
from tests.real.pod_status import Json
from tests.real.world import RealWorld, real_world

EVENTS, MANY, REST = 20, 500, 120.0
NODES = {"icc-gpu-1": 300, "icc-gpu-2": 300}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Office:
    """The bot's process, its chat and its cluster."""

    world: RealWorld
    chat: FakeMattermost
    ada: str
    process: int

    async def pod(self, name: str) -> Json:
        """That of a model, once it runs."""
        async with asyncio.timeout(60):
            while True:
                for pod in await self.world.pods(name):
                    [container] = pod["status"].get("containerStatuses", [{"state": {}}])
                    if "running" in container["state"]:
                        return pod
                await asyncio.sleep(0.1)

    def posts(self, words: str, channel: str = "c1") -> list[Json]:
        """Posts of a channel or its threads in which the words stand now."""
        return [p for p in self.chat.posts.values() if p["channel_id"] == channel and words in p["message"]]

    def answered_since(self, answers: int) -> bool:
        """There are more answers of a model than that."""
        return len(self.posts("Hello.")) > answers


async def measure() -> list[dict[str, Any]]:
    """One after the other, on one server."""
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        return [missing("from events to messages, at rest, in a storm", "KUBEBUILDER_ASSETS")]
    async with office() as there:
        return [await _events(there), await _first_token(there), *await _rest_and_storm(there)]


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    """Everything there is, until the end of the block."""
    chat = FakeMattermost()
    url = await chat.start()
    ada = chat.person("ada")
    for channel in ("c1", "admins"):
        chat.channel(channel, members=[ada])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        plane = ControlPlane(Path(os.environ["KUBEBUILDER_ASSETS"]), Path(folder))
        try:
            plane.start()
            async with endpoints() as models, real_world(plane, Path(folder), nodes=NODES) as world:
                told = {"MATTERMOST_URL": url, "MATTERMOST_TOKEN": TOKEN, "ADMINS": ada}
                told |= {"INFERENCE_URL_TEMPLATE": f"{models}/{{service}}"}
                async with _running(world, told) as process:
                    await eventually(lambda: chat.sockets)
                    yield Office(world, chat, ada, process)
        finally:
            plane.stop()
            await chat.stop()


@asynccontextmanager
async def _running(world: RealWorld, told: dict[str, str]) -> AsyncIterator[int]:
    """The bot, with its own settings for the rest; its process."""
    env = {name: value for name, value in os.environ.items() if name not in PROXIES} | told
    env |= {"KUBECONFIG": str(world.kubeconfig), "NAMESPACE": world.namespace}
    env |= {"ADMIN_CHANNEL": "mattermost:admins", "HTTP_HOST": "127.0.0.1", "HTTP_PORT": "0"}
    command = [sys.executable, "-m", "bot", "run"]
    quiet = asyncio.subprocess.DEVNULL
    bot = await asyncio.create_subprocess_exec(
        *command, env=env | {"DATABASE_URL": "sqlite://"}, stderr=quiet
    )
    try:
        yield bot.pid
    finally:
        bot.kill()
        await bot.wait()


async def _events(there: Office) -> dict[str, Any]:
    """A container crashes; its owner's card says so."""
    times = []
    for number in range(EVENTS):
        name = f"e{number}"
        there.world.kubelet.behave[f"llm-{name}"] = "hold"
        there.chat.say(there.ada, f"@llm deploy tinyllama name={name}")
        await eventually(partial(there.posts, f"{name} · "))
        pod = await there.pod(name)
        begun = perf_counter()
        await there.world.kubelet.crash(pod)
        times.append(await since(begun, partial(there.posts, f"{name} did not start")))
        await there.world.cluster.remove(name)
    value = statistics.median(times)
    return row("from an event to its message, ms", value, 300, f"slowest of {EVENTS}: {max(times):.0f}")


async def _first_token(there: Office) -> dict[str, Any]:
    """A pod gets ready for which a question waits; the model's own time is taken off."""
    times = []
    there.chat.say(there.ada, "@llm deploy tinyllama")
    await eventually(lambda: there.posts("tinyllama is ready"))
    there.world.kubelet.behave["llm-tinyllama"] = "hold"
    for _ in range(EVENTS):
        await there.world.cluster.scale("tinyllama", 0)
        async with asyncio.timeout(60):
            while await there.world.pods("tinyllama"):
                await asyncio.sleep(0.1)
        answered = partial(there.answered_since, len(there.posts("Hello.")))
        there.chat.say(there.ada, "@llm ask tinyllama are you there?")
        pod = await there.pod("tinyllama")
        begun = perf_counter()
        await there.world.kubelet.get_ready(pod)
        took = await since(begun, answered)
        times.append(took - FIRST_TOKEN * 1000)
    await there.world.cluster.remove("tinyllama")
    value, detail = statistics.median(times), f"beside the model's own; slowest {max(times):.0f}"
    return row("from ready to the first token of a waiting question, ms", value, 300, detail)


async def since(begun: float, true: Callable[[], object]) -> float:
    """Milliseconds until it is true."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.002)
    return (perf_counter() - begun) * 1000


async def _rest_and_storm(there: Office) -> list[dict[str, Any]]:
    world = there.world
    for number in range(MANY):
        await world.cluster.create(spec(f"m{number}"), RECORD)
    await eventually(lambda: sum(w.ready_replicas for w in world.cluster.workloads()) == MANY, 300)
    await asyncio.sleep(30)  # each has been asked whether it is ready, and the cluster has calmed down
    before, lists = _ticks(there.process), world.plane.lists()
    assert lists, "not even those of its start are counted"
    await asyncio.sleep(REST)
    core = (_ticks(there.process) - before) / TICKS / REST
    asked = world.plane.lists() - lists
    at_rest, told = memory(there.process), len(there.chat.posted("admins"))
    begun = perf_counter()
    pods = await world.admin.request("GET", f"/api/v1/namespaces/{world.namespace}/pods")
    for pod in pods["items"]:
        await world.kubelet.crash(pod)
    failed = perf_counter() - begun
    await _until_all_are_known(there)
    messages = there.chat.posted("admins")[told:]
    names = {name for post in messages for name in post["message"].replace(",", " ").split()}
    listed = sum(f"m{number}" in names for number in range(MANY))
    return [
        row(f"LISTs a minute with {MANY} pods at rest", asked * 60 / REST, 0, f"over {REST:.0f} s"),
        row(f"share of a core with {MANY} pods at rest", core, 0.02, f"{at_rest:.0f} MiB resident"),
        row(f"messages to admins, {MANY} pods fail", len(messages), 3, f"within {failed:.0f} s"),
        row(f"of {MANY} failed, listed there", listed, MANY, "by name", most=False),
        row("memory growth meanwhile, MiB", memory(there.process) - at_rest, 50, ""),
    ]


async def _until_all_are_known(there: Office) -> None:
    """On the cluster, and no message is still to be sent."""
    path = f"/api/v1/namespaces/{there.world.namespace}/configmaps/{NAME}"
    async with asyncio.timeout(180):
        while True:
            found = await there.world.admin.request("GET", path)
            state = AlertState.model_validate_json(found["data"][KEY])
            if len(state.alerts) >= MANY and not any(post.stale for post in state.posts.values()):
                return
            await asyncio.sleep(0.5)


def _ticks(process: int) -> int:
    """Of a processor, that it has used: fields 14 and 15 of proc(5)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
