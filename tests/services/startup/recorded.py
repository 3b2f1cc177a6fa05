"""The whole bot beside a cluster that does again what a real one was recorded doing."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.app import wiring
from bot.app.application import App
from bot.app.settings import Settings
from bot.cluster.adapter import KubernetesCluster
from bot.cluster.manifests import WorkloadSettings
from bot.cluster.pod_fields import is_ready
from bot.core.chat.message import Turn
from bot.core.chat.reply import Reply
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Workload
from bot.core.ports import Endpoint, Load, Piece, Sampling
from bot.engines.vllm.engine import Vllm
from tests.cluster.objects import deployment, node, pod
from tests.conftest import THREAD, Chat, Clock, Say, settle
from tests.fakes.kubernetes import FakeKubernetes

RECORDED = Path(__file__).parents[2] / "fixtures" / "kubelet" / "sequences"
CORE = "/api/v1/namespaces/demo"
DEPLOYMENTS = "/apis/apps/v1/namespaces/demo/deployments"
Json = dict[str, Any]


class Answers:
    """An Inference whose servers all answer."""

    async def answer(
        self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        yield Piece("hello")

    async def count_tokens(self, endpoint: Endpoint, turns: Sequence[Turn]) -> int | None:
        return None

    async def load(self, url: str) -> Load | None:
        return Load(0, 0, 0.0)


class Recorded:
    """A recorded sequence, and the bot that sees it; `card` is the message of the model's card.

    The bot looks at every state, however short: a real one may miss some, but never sees more."""

    card = "m1"

    def __init__(self, name: str, kubernetes: FakeKubernetes, chat: Chat, clock: Clock) -> None:
        self.name = name
        self.bot: App
        self.cluster: KubernetesCluster
        self._kubernetes, self._chat, self._clock = kubernetes, chat, clock
        self.events = list(map(json.loads, (RECORDED / f"{name}.jsonl").read_text().splitlines()))

    @property
    def workload(self) -> Workload:
        found = self.cluster.find(self.name)
        assert found
        return found

    async def begin(self) -> None:
        """Deploy it, as somebody whose card stands in a thread."""
        self._clock.time = began = self._at(self.events[0])
        await self._chat.post(THREAD, Reply())
        record = Record(
            owner="ada",
            owner_name="ada",
            card_place=THREAD,
            card_message_id=self.card,
            start_requested_at=began,
        )
        made = deployment(self.name, record=record)
        made["metadata"]["creationTimestamp"] = began.isoformat()
        await self._kubernetes.put(DEPLOYMENTS, made)
        secret = {"metadata": {"name": f"llm-{self.name}"}, "stringData": {"api-key": "key"}}
        await self._kubernetes.put(f"{CORE}/secrets", secret)
        await self._kubernetes.put("/api/v1/nodes", node("gpu-node-3"))

    async def play(self) -> None:
        """All of it; admins are told after every event."""
        await self._go_through(self.events)

    async def repeat(self, most: int) -> int:
        """Its first pod again and again, as a cluster puts another one in its place, until it is scaled to 0;
        a sweep follows each. Returns how many there were, at `most`."""
        pods = [event for event in self.events if event["kind"] == "Pod"]
        own = [e for e in pods if e["object"]["metadata"]["uid"] == pods[0]["object"]["metadata"]["uid"]]
        for number in range(most):
            if self.workload.replicas == 0:
                return number
            later = self._clock.now() - self._at(own[0])
            await self._go_through([_another(event, f"-{number}", later) for event in own])
            await self.bot.sweep()
            await self.quiet()
        return most

    async def answer_again(self) -> None:
        """Its pod is ready once more, half a minute later."""
        [*_, event] = [e for e in self.events if e["kind"] == "Pod" and is_ready(e["object"])]
        later = self._clock.now() - self._at(event) + timedelta(seconds=30)
        again = _another(event, "", later)
        again["object"]["status"]["containerStatuses"] = event["object"]["status"]["containerStatuses"]
        await self._go_through([again])

    async def _go_through(self, events: Sequence[Json]) -> None:
        for event in events:
            self._clock.advance(seconds=(self._at(event) - self._clock.now()).total_seconds())
            await self._happen(event)
            await self.quiet()
            await self.bot.alerts.look()

    @property
    def pods(self) -> list[str]:
        """The names of its pods."""
        return self._kubernetes.names(f"{CORE}/pods")

    async def quiet(self) -> None:
        """The bot has seen what there is, and has done what it does about that."""
        before: tuple[int, ...] = ()
        while before != (before := self._done):
            await asyncio.sleep(0.02)
            await settle()

    def said(self, say: Say) -> list[str]:
        """The first lines of its card, one after another."""
        told = [say(reply.text) for reply in self._chat.messages[self.card] if reply.text]
        return [line for line, before in zip(told, ["", *told], strict=False) if line != before]

    @property
    def _done(self) -> tuple[int, ...]:
        return len(self._kubernetes.requests), *map(len, self._chat.messages.values())

    def _at(self, event: Json) -> datetime:
        return datetime.fromtimestamp(event["at"], UTC)

    async def _happen(self, event: Json) -> None:
        thing, kind = event["object"], event["kind"]
        if kind == "Pod":
            await self._pod(thing, gone=event["type"] == "DELETED", new=event["type"] == "ADDED")
        elif kind == "Deployment":
            held = self._kubernetes.object(f"{DEPLOYMENTS}/llm-{self.name}")
            held["status"] = thing["status"]
            held["spec"]["replicas"] = thing["spec"]["replicas"]
            await self._kubernetes.put(DEPLOYMENTS, held)
        elif kind == "Event" and event["type"] != "DELETED":
            about = thing["involvedObject"] | {"namespace": "demo"}
            await self._kubernetes.put(f"{CORE}/events", thing | {"involvedObject": about})
        elif kind == "Node":
            ready = [c["status"] for c in thing["status"]["conditions"] if c["type"] == "Ready"]
            made = node(thing["metadata"]["name"], ready=ready == ["True"])
            await self._kubernetes.put("/api/v1/nodes", made | {"spec": thing.get("spec", {})})

    async def _pod(self, thing: Json, *, gone: bool, new: bool) -> None:
        path, known = f"{CORE}/pods", f"{CORE}/pods/{thing['metadata']['name']}"
        if not new and not self._kubernetes.holds(known):
            return  # the bot has removed it
        if gone:
            await self._kubernetes.delete(known)
            return
        made = pod(self.name)
        metadata = {**made["metadata"], **thing["metadata"]}
        del metadata["resourceVersion"]
        spec = {"containers": made["spec"]["containers"], **thing["spec"]}
        await self._kubernetes.put(path, thing | {"metadata": metadata, "spec": spec})


def _another(event: Json, name: str, later: timedelta) -> Json:
    """The event, about another pod of a later time."""

    def moved(stamp: re.Match[str]) -> str:
        return (datetime.fromisoformat(stamp[0]) + later).strftime("%Y-%m-%dT%H:%M:%SZ")

    thing = json.loads(re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moved, json.dumps(event["object"])))
    for field in ("name", "uid"):
        thing["metadata"][field] += name
    return event | {"object": thing, "at": event["at"] + later.total_seconds()}


@asynccontextmanager
async def recorded(
    name: str, settings: Settings, chat: Chat, clock: Clock, folder: Path, *, leads: bool = True
) -> AsyncIterator[Recorded]:
    """The bot at work, before anything has happened; or a terminal beside one that leads and does nothing."""
    kubernetes = FakeKubernetes()
    url = await kubernetes.start()
    story = Recorded(name, kubernetes, chat, clock)
    told = settings.model_copy(update={"admin_channel": "test:admins"})
    config = kubernetes.kubeconfig(folder)
    try:
        await story.begin()
        async with KubernetesCluster(
            config, WorkloadSettings(namespace="demo"), url, Vllm()
        ) as story.cluster:
            story.bot = wiring.build(told, story.cluster, Answers(), chat, clock)
            updater = story.bot.services.card_updater
            cards = asyncio.create_task(updater.run() if leads else updater.run_as_guest())
            try:
                yield story
            finally:
                cards.cancel()
                await asyncio.gather(cards, return_exceptions=True)
                await story.bot.close()
    finally:
        await kubernetes.stop()
