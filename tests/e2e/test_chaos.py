"""Chaos on real nodes: in every phase of a start something is killed, and what is told is true at the end.

CHAOS_EVENTS says how many are killed (each takes 10 to 30 s), CHAOS_SEED which and when: the same seed kills
the same in the same order."""

import asyncio
import itertools
import os
import random
from typing import Any

from tests.conftest import eventually
from tests.e2e.bot_in_pod import ADMINS, BotInPod, bot_in_pod, failures, told, until
from tests.real import stand_in
from tests.real.cluster import RealCluster

Json = dict[str, Any]
EVENTS = int(os.environ.get("CHAOS_EVENTS", "8"))
SEED = int(os.environ.get("CHAOS_SEED", "15"))
NAME = "mad"
LOADS = 6
"""Seconds that the model loads."""
PHASES = ("scheduling", "loading", "ready", "waking")
VICTIMS = ("bot", "engine", "node", "kubelet", "containerd", "API server", "etcd", "pod")
"""The pod is evicted, etcd stopped, a node cut off; all others are killed."""
ETCD_STOPPED = 20.0
LONGEST = 8.0
"""Seconds that something is away; a node that is away for less than 50 s is not missed by the cluster."""
CALM = 300.0
"""Seconds until everything must be well again; a busy machine needs 60."""


class Chaos:
    """One model that is started, put to sleep and killed."""

    def __init__(self, bot: BotInPod, chance: random.Random) -> None:
        self.bot, self._chance = bot, chance
        self.card: Json = {}
        self._deployed = False

    async def run(self, phase: str, victim: str) -> None:
        """Bring the model to a phase, kill, mend, and look when all is calm."""
        print(f"--- {victim} killed while {phase}")
        await self._reach(phase)
        before = {name: len(told(post)) for name, post in self.bot.chat.posts.items()}
        await self._kill(victim)
        await self._calm()
        await self._check(before)

    async def _reach(self, phase: str) -> None:
        if phase == "waking":
            await self._ready()
            assert f"{NAME} goes to sleep" in await self.bot.answer(f"sleep {NAME}")
            await until(lambda: not self._pods())
            self.card = await self.bot.card(f"wake {NAME}")
        elif phase != "ready":
            if self._deployed:
                await self.bot.answer(f"stop {NAME} --sure")
                await until(lambda: not self._pods())
            self.card = await self.bot.deploy(NAME)
            self._deployed = True
        reached = {"ready": _is_ready, "loading": _runs}.get(phase, bool)
        await self._ready() if phase == "ready" else None
        await until(lambda: any(map(reached, self._pods())))

    async def _ready(self) -> None:
        if not self._deployed:
            self.card, self._deployed = await self.bot.deploy(NAME), True
        await eventually(lambda: f"{NAME} is ready" in self.card["message"], CALM)

    async def _kill(self, victim: str) -> None:
        cluster, away = self.bot.cluster, self._chance.uniform(0, LONGEST)
        if victim in ("bot", "engine"):
            await until(lambda: any(map(_runs, self._of(victim))))
            pod = next(pod for pod in self._of(victim) if _runs(pod))
            await asyncio.to_thread(cluster.kill_container, pod)
            killed = _containers(pod)
            await until(lambda: killed not in [_containers(now) for now in self._of(victim) if _runs(now)])
            return
        if victim in ("API server", "etcd"):
            await self._harm_the_control_plane(victim, away)
            return
        if victim == "pod":
            await until(self._pods)
            await self.bot.evict(self._pods()[0]["metadata"]["name"])
            return
        await until(lambda: any("nodeName" in pod["spec"] for pod in self._pods()))
        node = next(pod["spec"]["nodeName"] for pod in self._pods() if "nodeName" in pod["spec"])
        if victim == "node":
            await asyncio.to_thread(cluster.lose, node)
            await asyncio.sleep(away)
            await asyncio.to_thread(cluster.back, node)
            return
        await asyncio.to_thread(cluster.kill, node, victim)
        await asyncio.sleep(away)
        await asyncio.to_thread(cluster.start, node, victim)

    async def _harm_the_control_plane(self, victim: str, away: float) -> None:
        plane = self.bot.cluster.own_nodes.plane
        if victim == "etcd":
            plane.freeze_etcd()
            try:
                await asyncio.sleep(ETCD_STOPPED)
            finally:
                plane.thaw_etcd()
            return
        await asyncio.to_thread(plane.stop_api_server)
        await asyncio.sleep(away)
        await asyncio.to_thread(plane.start_api_server)

    def _pods(self) -> list[Json]:
        return self.bot.pods(NAME)

    def _of(self, victim: str) -> list[Json]:
        label = "app.kubernetes.io/name=llm-bot"
        return self.bot.cluster.pods(self.bot.namespace, label) if victim == "bot" else self._pods()

    async def _calm(self) -> None:
        """Bot and model are well, for the cluster and in the chat."""

        def well() -> bool:
            shown = f"● {NAME} is ready" in self.card["message"]
            live = [pod for pod in self._pods() if pod["status"]["phase"] != "Failed"]
            return shown and len(live) == 1 and all(map(_is_ready, [*live, *self._of("bot")]))

        await until(well, CALM)
        await eventually(lambda: self.bot.chat.sockets)
        await eventually(lambda: not [post for post in self._alerts() if "resolved" not in post["message"]])

    def _alerts(self) -> list[Json]:
        return self.bot.chat.posted(ADMINS)

    async def _check(self, before: dict[str, int]) -> None:
        """One message a story, none that is still at it, and the GPUs held as said."""
        assert self.bot.chat.posted("c1", self.card["root_id"]) == [self.card]
        for name, post in self.bot.chat.posts.items():
            assert not post["message"].startswith("◐"), post
            assert failures(told(post)[before.get(name, 1) - 1 :]) <= 1, told(post)
        assert failures(told(self.card)[before[self.card["id"]] - 1 :]) <= 1
        [pod] = [pod for pod in self._pods() if pod["status"]["phase"] != "Failed"]
        said = await self.bot.answer("gpus")
        for node in ("gpu-node-1", "gpu-node-2"):
            holds = pod["spec"]["nodeName"] == node
            used = f"3 | 1 × {NAME} (ada)" if holds else "4 | –"
            assert f"| {node} | 4 | {used} |" in said, said


async def test_what_is_told_is_true_whatever_is_killed(real_cluster: RealCluster) -> None:
    chance = random.Random(SEED)
    rounds = range(1 + EVENTS // len(VICTIMS))
    victims = [victim for _ in rounds for victim in chance.sample(VICTIMS, len(VICTIMS))]
    events = [(chance.choice(PHASES), victim) for victim in victims]
    async with bot_in_pod(real_cluster, "chaos") as bot:
        await bot.mutate(f"llm-{NAME}", stand_in.patch(seconds=LOADS))
        chaos = Chaos(bot, chance)
        for phase, victim in itertools.islice(events, EVENTS):
            await chaos.run(phase, victim)


def _runs(pod: Json) -> bool:
    states = [status.get("state", {}) for status in pod["status"].get("containerStatuses", [])]
    return bool(states) and all("running" in state for state in states)


def _containers(pod: Json) -> list[str]:
    return [status.get("containerID", "") for status in pod["status"].get("containerStatuses", [])]


def _is_ready(pod: Json) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"
