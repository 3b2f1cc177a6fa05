"""A bot in its pod on real nodes, and people who talk to it in a chat."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.conftest import PATIENCE, eventually
from tests.fakes.mattermost import COMMAND_TOKEN, TOKEN, FakeMattermost
from tests.real.cluster import RealCluster

Json = dict[str, Any]
ADMINS = "admins"
"""The channel of the alerts."""


class BotInPod:
    """What a test does with it; `chat` has the channel `c1`, with ada in it, and that of the admins."""

    def __init__(self, cluster: RealCluster, namespace: str, chat: FakeMattermost) -> None:
        self.cluster, self.namespace, self.chat = cluster, namespace, chat
        self.ada = chat.person("ada")
        chat.channel("c1", members=[self.ada])
        chat.channel(ADMINS, members=[self.ada])

    async def install(self, **settings: str) -> None:
        """As docs/operate.md says; until it hears the chat."""
        known = {
            "MATTERMOST_COMMAND_TOKENS": f"t1={COMMAND_TOKEN}",
            "MATTERMOST_CALLBACK_URL": f"http://llm-bot.{self.namespace}.svc:8080",
            "MATTERMOST_TOKEN": TOKEN,
            "ADMIN_CHANNEL": f"mattermost:{ADMINS}",
            "ADMINS": self.ada,
            "SWEEP_INTERVAL": "5s",
        }
        await asyncio.to_thread(self.cluster.install_bot, self.namespace, known | settings)
        await eventually(lambda: self.chat.sockets)

    async def mutate(self, workload: str, patch: Json) -> str:
        """As `RealCluster.mutate`, while others go on."""
        return await asyncio.to_thread(self.cluster.mutate, self.namespace, workload, patch)

    async def kubectl(self, *words: str, stdin: str = "") -> str:
        """In the namespace, while others go on."""
        here = f"--namespace={self.namespace}"
        return await asyncio.to_thread(self.cluster.kubectl, here, *words, stdin=stdin)

    async def evict(self, pod: str) -> None:
        """As a drain does."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        await self.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))

    async def deploy(self, name: str, *options: str) -> Json:
        """Ask for a tinyllama of this name; its card."""
        return await self.card(f"deploy tinyllama name={name} {' '.join(options)}")

    async def card(self, line: str) -> Json:
        """What answers a line, and changes from then on."""
        asked = self.chat.say(self.ada, f"@llm {line}")
        await eventually(lambda: self.chat.posted("c1", asked))
        return self.chat.posted("c1", asked)[0]

    async def answer(self, line: str) -> str:
        """The one answer to a line that needs no time."""
        asked = self.chat.say(self.ada, f"@llm {line}")
        await eventually(lambda: self.chat.posted("c1", asked))
        [post] = self.chat.posted("c1", asked)
        return str(post["message"])

    async def answered(self, asked: str) -> None:
        """Wait for the whole answer of a model to a post."""
        await eventually(lambda: any("tokens/s" in p["message"] for p in self.chat.posted("c1", asked)))

    def alerts(self, name: str) -> list[Json]:
        """What the admins were told of a model."""
        return [post for post in self.chat.posted(ADMINS) if f" {name} (ada)" in post["message"]]

    def all_pods(self) -> list[Json]:
        """Those of all models."""
        return self.cluster.pods(self.namespace, "llm-bot/workload")

    def pods(self, name: str) -> list[Json]:
        """Those of a model."""
        return self.cluster.pods(self.namespace, f"llm-bot/workload=llm-{name}")


async def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """As `eventually`, for a condition that asks the cluster: twice a second, while others go on."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(true):
            await asyncio.sleep(0.5)


def told(post: Json) -> list[str]:
    """What a post said at each time, the last is what it says now."""
    return [*map(str, post["history"]), post["message"]]


def failures(said: list[str]) -> int:
    """How often a message turned into one of a failure."""
    failed = [False, *(text.startswith("✕") for text in said)]
    return sum(now and not before for before, now in itertools.pairwise(failed))


@asynccontextmanager
async def bot_in_pod(cluster: RealCluster, name: str, **settings: str) -> AsyncIterator[BotInPod]:
    """One that is installed, in a namespace of its own; at the end its log and the chat are printed."""
    chat = FakeMattermost()
    url = await chat.start(host=cluster.machine)
    try:
        with cluster.namespace(name) as namespace:
            bot = BotInPod(cluster, namespace, chat)
            try:
                await bot.install(MATTERMOST_URL=url, **settings)
                yield bot
            finally:
                log = ("logs", "deployment/llm-bot", f"--namespace={namespace}", "--tail=200")
                print(cluster.kubectl(*log, check=False))
                print(*(f"{post['channel_id']}: {told(post)}" for post in chat.posts.values()), sep="\n")
    finally:
        await chat.stop()
