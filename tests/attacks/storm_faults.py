"""What befalls the cluster and the bots in a storm, in an order that a seed gives."""

import asyncio
import os
import random
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import monotonic

from bot.cluster.client import Api
from bot.core.chat.errors import UserError
from tests.e2e.service import PROXIES, ROOT
from tests.real.control_plane import ControlPlane
from tests.real.flaky_proxy import FlakyProxy
from tests.real.pod_status import Json

ETCD_STOPPED = 20.0
"""Seconds."""


class BotProcess:
    """`python -m bot run`, started again whenever it ends, as a kubelet does."""

    def __init__(self, name: str, env: dict[str, str], folder: Path) -> None:
        self.log = folder / f"{name}.log"
        self.ended = 0
        """How often it ended by itself."""
        self._env = {k: v for k, v in os.environ.items() if k not in PROXIES} | env
        self._process: asyncio.subprocess.Process | None = None
        self._killed = False

    async def run(self) -> None:
        """Until it is cancelled; its log goes on."""
        command = [sys.executable, "-m", "bot", "run"]
        try:
            while True:
                self._killed = False
                with self.log.open("ab") as log:
                    self._process = await asyncio.create_subprocess_exec(
                        *command, cwd=ROOT, env=self._env, stderr=log, stdout=log
                    )
                await self._process.wait()
                self.ended += not self._killed
                await asyncio.sleep(1)
        finally:
            await self.kill()

    async def kill(self) -> None:
        """kill -9."""
        if self._process and self._process.returncode is None:
            self._killed = True
            self._process.kill()
            await self._process.wait()


class Faults:
    """`kills` are the times at which a bot was killed, `done` counts what has happened."""

    def __init__(
        self,
        plane: ControlPlane,
        proxy: FlakyProxy,
        admin: Api,
        namespace: str,
        bots: list[BotProcess],
        seed: str,
    ) -> None:
        self.done: Counter[str] = Counter()
        self.kills: list[float] = []
        self._plane, self._proxy, self._bots = plane, proxy, bots
        self._admin, self._pods = admin, f"/api/v1/namespaces/{namespace}/pods"
        self._seed = seed

    async def rage(self, seconds: float) -> None:
        """All of them, for about so long; each that began is brought to its end."""
        end = monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for number, bot in enumerate(self._bots):
                tasks.create_task(self._kill_again_and_again(bot, self._chance(f"bot {number}"), end))
            tasks.create_task(self._harm_the_control_plane(self._chance("plane"), end))
            tasks.create_task(self._cut(self._chance("watches"), end))
            tasks.create_task(self._evict(self._chance("evictions"), end))

    def _chance(self, of: str) -> random.Random:
        return random.Random(f"{self._seed} {of}")

    async def _kill_again_and_again(self, bot: BotProcess, chance: random.Random, end: float) -> None:
        while await _pause(chance.uniform(12, 30), end):
            await bot.kill()
            self.kills.append(monotonic())
            self.done["kill -9"] += 1

    async def _harm_the_control_plane(self, chance: random.Random, end: float) -> None:
        """First each of them once."""
        for kind in (*chance.sample(("api", "etcd"), 2), *chance.choices(("api", "etcd"), (3, 1), k=999)):
            if not await _pause(chance.uniform(8, 16), end):
                return
            if kind == "api":
                self.done["API server killed"] += 1
                await asyncio.to_thread(self._plane.stop_api_server)
                await asyncio.sleep(chance.uniform(0, 2))
                await asyncio.to_thread(self._plane.start_api_server)
            else:
                self.done["etcd stopped"] += 1
                self._plane.freeze_etcd()
                try:
                    await asyncio.sleep(ETCD_STOPPED)
                finally:
                    self._plane.thaw_etcd()

    async def _cut(self, chance: random.Random, end: float) -> None:
        while await _pause(chance.uniform(3, 8), end):
            self._proxy.cut_watches()
            self.done["watches cut"] += 1

    async def _evict(self, chance: random.Random, end: float) -> None:
        """As a drain does."""
        while await _pause(chance.uniform(4, 10), end):
            with suppress(UserError):
                pods: list[Json] = (await self._admin.request("GET", self._pods))["items"]
                if not pods:
                    continue
                name = chance.choice(sorted(pod["metadata"]["name"] for pod in pods))
                body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
                await self._admin.request("POST", f"{self._pods}/{name}/eviction", body)
                self.done["eviction"] += 1


async def _pause(seconds: float, end: float) -> bool:
    """Wait so long; False once it is over."""
    await asyncio.sleep(max(0.0, min(seconds, end - monotonic())))
    return monotonic() < end
