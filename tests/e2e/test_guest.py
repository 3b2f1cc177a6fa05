"""A terminal beside the bot, as two processes on the real API server."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest_asyncio

from bot.app import background_jobs, wiring
from bot.app.clock import SystemClock
from bot.app.settings import Settings
from bot.cluster.lease import lease_leadership
from bot.cluster.lease_lock import NAME
from bot.platforms.shared.messengers import Messengers
from tests.conftest import eventually
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, real_world

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def world(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with real_world(control_plane, tmp_path) as world:
        yield world


@asynccontextmanager
async def service(world: RealWorld) -> AsyncIterator[None]:
    """The bot at work in this process: in no chat that a terminal could be in."""
    settings = Settings(_env_file=None, namespace=world.namespace, database_url="sqlite://")
    inference = wiring.inference_of(settings)
    built = wiring.build(settings, world.cluster, inference, Messengers([]), SystemClock())
    async with lease_leadership(str(world.kubeconfig), world.namespace, guest=False) as leadership:
        running = asyncio.create_task(background_jobs.serve(settings, built, [], leadership))
        try:
            await eventually(lambda: leadership.holder)
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await built.close()
            await inference.close()


async def terminal(world: RealWorld, *lines: str) -> str:
    """What is printed until all lines are answered."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "run", "--platform", "console"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(world.kubeconfig), "NAMESPACE": world.namespace},
        cwd=ROOT,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate("\n".join(lines).encode())
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode()


def holder(world: RealWorld) -> str:
    found = json.loads(world.plane.kubectl("get", "lease", NAME, "-n", world.namespace, "-o", "json"))
    return str(found["spec"].get("holderIdentity", ""))


async def test_a_guest_shows_its_own_deployments_and_leaves_the_lease_to_the_bot(world: RealWorld) -> None:
    world.kubelet.behave["llm-tinyllama"] = "crash"
    async with service(world):
        leader = holder(world)
        told = await terminal(world, "deploy tinyllama", "status")
        assert told.startswith("llm-bot is at work here already (")
        assert "✕ tinyllama did not start" in told.partition("> status")[0]
        assert holder(world) == leader


async def test_a_terminal_alone_is_the_whole_bot(world: RealWorld) -> None:
    world.kubelet.behave["llm-tinyllama"] = "crash"
    told = await terminal(world, "deploy tinyllama", "status")
    assert told.startswith("No other llm-bot is at work here")
    assert "✕ tinyllama did not start" in told.partition("> status")[0]
    assert holder(world) == ""
