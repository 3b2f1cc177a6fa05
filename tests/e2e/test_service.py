"""`python -m bot run` as a process: it holds the Lease, and lets go of it at its end."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from bot.cluster.lease_lock import NAME
from tests.conftest import PATIENCE
from tests.real.control_plane import ControlPlane
from tests.real.world import RealWorld, real_world

ROOT = Path(__file__).parents[2]


def holder(world: RealWorld) -> str:
    found = world.plane.kubectl(
        "get", "lease", NAME, "-n", world.namespace, "-o", "json", "--ignore-not-found"
    )
    return json.loads(found)["spec"].get("holderIdentity", "") if found else ""


async def start(world: RealWorld, tmp_path: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "run"),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={
            **os.environ,
            "KUBECONFIG": str(world.kubeconfig),
            "NAMESPACE": world.namespace,
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": "0",
            "DATABASE_URL": f"sqlite:///{tmp_path}/ledger",
        },
    )


async def until_held(world: RealWorld, pid: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while f"_{pid}-" not in await asyncio.to_thread(holder, world):
            await asyncio.sleep(0.2)


async def test_the_next_bot_takes_over_when_one_is_told_to_end(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with real_world(control_plane, tmp_path) as world:
        first = await start(world, tmp_path)
        await until_held(world, first.pid)
        second = await start(world, tmp_path)
        try:
            await asyncio.sleep(5)
            assert f"_{first.pid}-" in holder(world)
            first.send_signal(signal.SIGTERM)
            _, told = await first.communicate()
            assert first.returncode == 0 and "Traceback" not in told.decode(), told.decode()
            assert f"_{first.pid}-" not in holder(world)
            await until_held(world, second.pid)
        finally:
            second.send_signal(signal.SIGTERM)
            _, told = await second.communicate()
        assert second.returncode == 0 and "Traceback" not in told.decode(), told.decode()
        assert holder(world) == ""
