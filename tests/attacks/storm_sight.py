"""What a storm has left: the cluster and the chat, looked at by an admin, and what is wrong about them."""

import asyncio
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from bot.core.chat.errors import UserError
from tests.attacks.storm_people import Command, Person
from tests.attacks.storm_truth import NOTHING, Kind, State
from tests.fakes.slack import FakeSlack, words
from tests.real.world import NODES, RealWorld

Json = dict[str, Any]
LABEL = {"labelSelector": "llm-bot/workload"}
TOO_MUCH = 1.3
"""A ledger that is written at each sweep is right within this, when GPUs change hands each second; twice as
much means that two have written."""
QUOTA = 2
"""GPUs and deployments of a student."""


class Sight:
    """Counts GPUs while the storm goes on, and says at the end what is wrong."""

    def __init__(self, world: RealWorld, slack: FakeSlack, people: list[Person], ledger: Path) -> None:
        self.gpu_seconds = 0.0
        self.double_booked: list[str] = []
        self.gpus = NODES
        """Of each node now."""
        self._world, self._slack, self._people, self._ledger = world, slack, people, ledger

    async def follow(self) -> None:
        """Which pods hold which GPUs, twice a second, for ever."""
        last, held = monotonic(), 0
        while True:
            with suppress(UserError):
                held = self._count(await self._all("/api/v1/namespaces/{}/pods"))
            now = monotonic()
            self.gpu_seconds += held * (now - last)
            last = now
            await asyncio.sleep(0.5)

    def _count(self, pods: list[Json]) -> int:
        used: Counter[str] = Counter()
        for pod in pods:
            if pod["spec"].get("nodeName") and pod["status"].get("phase") not in ("Succeeded", "Failed"):
                limits = pod["spec"]["containers"][0]["resources"].get("limits", {})
                used[pod["spec"]["nodeName"]] += int(limits.get("nvidia.com/gpu", 0))
        self.double_booked += [
            f"{node} has {n} GPUs in use" for node, n in used.items() if n > self.gpus[node]
        ]
        return used.total()

    async def wrong(self, kills: list[float]) -> list[str]:
        """All that must not be, in words."""
        deployments = {
            d["metadata"]["name"]: d for d in await self._all("/apis/apps/v1/namespaces/{}/deployments")
        }
        return [
            *self.double_booked,
            *self._untrue(deployments),
            *self._false_cards(deployments),
            *await self._orphans(deployments),
            *self._over_quota(deployments),
            *self._unanswered(kills),
            *self._twice(),
            *self._ledger_wrong(),
        ]

    def _untrue(self, deployments: dict[str, Json]) -> list[str]:
        """What people were told of their models that cannot be, or is not so."""
        found = []
        for person in self._people:
            for model, questions in person.models.items():
                known = person.known(model)
                found += known.untrue
                is_now = _state(deployments.get(f"llm-{model}"))
                if not questions and is_now not in known.possible:  # who waits may wake it at any time
                    found.append(f"{model} is {is_now}, people were told: {known.spell()}")
        return found

    def _false_cards(self, deployments: dict[str, Json]) -> list[str]:
        """What the card of each model says now; whoever reads it believes it."""
        found = []
        for deployment in deployments.values():
            place, message = _card(deployment)
            post = self._slack.messages.get((place, message))
            state, ready = _state(deployment), deployment["status"].get("readyReplicas", 0)
            name = deployment["metadata"]["labels"]["llm-bot/workload"].removeprefix("llm-")
            said = words(post) if post else ""
            if state.kind is Kind.ASLEEP and "sleeps" not in said:
                found.append(f"{name} sleeps, its card says: {said!r}")
            if state.kind is Kind.AWAKE and not (ready and "is ready" in said):
                found.append(f"{name} has {ready} ready replicas, its card says: {said!r}")
        return found

    async def _orphans(self, deployments: dict[str, Json]) -> list[str]:
        found = []
        for kind in ("secrets", "services", "pods"):
            things = await self._all(f"/api/v1/namespaces/{{}}/{kind}")
            owners = {thing["metadata"]["labels"]["llm-bot/workload"] for thing in things}
            found += [f"{kind} of {name} without a Deployment" for name in owners - set(deployments)]
            if kind != "pods":
                found += [f"{name} without its {kind}" for name in set(deployments) - owners]
        return found

    def _over_quota(self, deployments: dict[str, Json]) -> list[str]:
        found = []
        for person in self._people:
            own = [d for name, d in deployments.items() if name.removeprefix("llm-") in person.models]
            gpus = sum(int(d["spec"]["replicas"]) for d in own)
            if person.is_student and (len(own) > QUOTA or gpus > QUOTA):
                found.append(f"{person.user} has {len(own)} deployments and {gpus} GPUs")
        return found

    def _unanswered(self, kills: list[float]) -> list[str]:
        open_ones = [c for c in kept(self._people) if not c.is_answered(self._slack)]
        return [
            f"“{command.line}” was not answered: {command.text(self._slack)!r}"
            for command in open_ones
            if not command.excused(kills, self._slack)
        ]

    def _twice(self) -> list[str]:
        """The same words in two messages of one thread."""
        found = []
        for command in kept(self._people):
            last = [texts[-1] for texts in command.history(self._slack)]
            found += [f"“{command.line}”: said {n} times: {t!r}" for t, n in Counter(last).items() if n > 1]
        return found

    def _ledger_wrong(self) -> list[str]:
        with closing(sqlite3.connect(self._ledger)) as database, suppress(sqlite3.OperationalError):
            [(held,)] = database.execute("SELECT COALESCE(SUM(gpu_seconds), 0) FROM gpu_time")
            if held > TOO_MUCH * self.gpu_seconds + 20:
                return [f"the ledger has {held:.0f} GPU-seconds, {self.gpu_seconds:.0f} were used"]
        return []

    async def _all(self, path: str) -> list[Json]:
        found = await self._world.admin.request("GET", path.format(self._world.namespace), query=LABEL)
        return list(found["items"])


def _state(deployment: Json | None) -> State:
    if deployment is None:
        return NOTHING
    annotations = deployment["metadata"]["annotations"]
    size = int(json.loads(annotations["llm-bot/spec"]).get("replicas", 1))
    awake = deployment["spec"]["replicas"] or annotations.get("llm-bot/queued-since")
    return State(Kind.AWAKE if awake else Kind.ASLEEP, size)


def _card(deployment: Json) -> tuple[str, str]:
    annotations = deployment["metadata"]["annotations"]
    place = json.loads(annotations.get("llm-bot/card-place", "{}"))
    return place.get("channel", ""), annotations.get("llm-bot/card-message-id", "")


def bugs(log: Path) -> list[str]:
    """What a bot logged of exceptions that nobody expected."""
    found = re.findall(r".*(?:command|request|job|mirror)\.failed.*", log.read_text())
    return [f"{log.stem}: {line[:300]}" for line in found]


def stories(wrong: list[str], people: list[Person], slack: FakeSlack, since: float) -> list[str]:
    """Of the models that something is wrong about: what was typed and said, with seconds of the storm."""
    told = []
    for command in sorted(kept(people), key=lambda command: command.sent_at):
        if any(re.search(rf"\b{command.model}\b", text) for text in wrong):
            took = f"+{command.answered_at - command.sent_at:.1f}" if command.answered_at else "…"
            said = " ⇒ ".join(" → ".join(texts) for texts in command.history(slack)).replace("\n", " | ")
            told.append(f"{command.sent_at - since:6.1f} {took:6} {command.line}: {said}")
    return told


def kept(people: list[Person]) -> list[Command]:
    """Every line that was typed."""
    return [command for person in people for command in person.commands]
