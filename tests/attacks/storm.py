"""A storm over two bots on a real API server: people who type, and faults of all kinds, from one seed."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

from tests.attacks.storm_engine import StormEngines
from tests.attacks.storm_faults import BotProcess, Faults
from tests.attacks.storm_people import Person
from tests.attacks.storm_sight import Sight, bugs, kept, stories
from tests.conftest import eventually
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, FakeSlack
from tests.real.control_plane import ControlPlane
from tests.real.flaky_proxy import FlakyProxy
from tests.real.world import NODES, RealWorld, real_world

SHARE = 0.05
"""Of the requests of the bots, how many fail."""
CALM = 240.0
"""Seconds after which all must be well; on an idle machine it takes 20."""
SOCKETS = 4
"""Connections to Slack: two of each bot."""
ROOM = {name: 4 * gpus for name, gpus in NODES.items()}
"""GPUs of the nodes in the calm: whatever waits for some gets them."""
PEOPLE = {"ada": 4, "bob": 4, "cleo": 3, "dan": 3, "fay": 2, "gus": 2, "eve": 3}
"""Names, and how many models each juggles with; eve is a student."""


class Storm:
    """`async with storm(…) as it`, then `rage` and `calm`."""

    def __init__(
        self, world: RealWorld, slack: FakeSlack, people: list[Person], faults: Faults, sight: Sight,
        bots: list[BotProcess], proxy: FlakyProxy,
    ) -> None:  # fmt: skip
        self._world = world
        self._slack, self._people, self._faults, self._sight = slack, people, faults, sight
        self._bots, self._proxy = bots, proxy
        self._began = 0.0

    async def rage(self, seconds: float) -> None:
        """People type while everything fails."""
        await eventually(lambda: len(self._slack.sockets) >= SOCKETS)
        self._began = monotonic()
        self._proxy.share = SHARE
        over = asyncio.Event()
        typing = [asyncio.create_task(person.type_until(over.is_set)) for person in self._people]
        try:
            await self._faults.rage(seconds)
        finally:
            self._proxy.share = 0.0
            over.set()
            await asyncio.gather(*typing)

    async def calm(self) -> list[str]:
        """What is wrong when nothing has failed for a while."""
        self._sight.gpus = ROOM
        await self._world.provide(ROOM)
        end, wrong = monotonic() + CALM, ["nobody has looked"]
        while wrong and monotonic() < end:
            await asyncio.sleep(1)
            wrong = await self._sight.wrong(self._faults.kills)
        for person in self._people:
            await person.finish()
        return [*wrong, *(bug for bot in self._bots for bug in bugs(bot.log))]

    def stories(self, wrong: list[str]) -> list[str]:
        """What led to it."""
        kills = [f"{killed - self._began:6.1f} a bot is killed" for killed in self._faults.kills]
        return [*stories(wrong, self._people, self._slack, self._began), *kills]

    def figures(self) -> str:
        """What has happened, for docs/benchmarks.md."""
        commands = kept(self._people)
        verbs = Counter(command.verb for command in commands)
        ended = sum(bot.ended for bot in self._bots)
        happened = " · ".join(f"{what} {n}" for what, n in self._faults.done.items())
        failed = " · ".join(f"{what} {n}" for what, n in sorted(self._proxy.failed.items()))
        told = f"{len(commands)} commands {dict(verbs)}; {happened} · bots ended by themselves {ended}"
        return f"{told}; of requests: {failed}, {self._proxy.passed} passed"


@asynccontextmanager
async def storm(plane: ControlPlane, folder: Path, seed: str) -> AsyncIterator[Storm]:
    """Everything is up; at the end it is gone."""
    slack, engines = FakeSlack(), StormEngines(random.Random(f"{seed} engines"))
    slack.tiers, slack.redeliver_after = False, 4.0
    proxy = FlakyProxy(plane, random.Random(f"{seed} proxy"), 0.0)
    url, template = await slack.start(), await engines.start()
    await proxy.start()
    try:
        async with real_world(plane, folder, engines.launch, template) as world:
            engines.api = world.admin
            people = [
                Person(slack, name, models, random.Random(f"{seed} {name}"), student=name == "eve")
                for name, models in PEOPLE.items()
            ]
            env = _settings(world, proxy, people) | {
                "SLACK_BOT_TOKEN": BOT_TOKEN,
                "SLACK_APP_TOKEN": APP_TOKEN,
                "SLACK_API_URL": url,
                "INFERENCE_URL_TEMPLATE": template,
                "DATABASE_URL": f"sqlite:///{folder}/ledger.sqlite",
            }
            bots = [BotProcess(f"bot-{number}", env, folder) for number in (1, 2)]
            faults = Faults(plane, proxy, world.admin, world.namespace, bots, seed)
            sight = Sight(world, slack, people, folder / "ledger.sqlite")
            try:
                async with _at_work(bots, sight):
                    yield Storm(world, slack, people, faults, sight, bots, proxy)
            finally:
                await world.provide(NODES)
    finally:
        await proxy.stop()
        await engines.stop()
        await slack.stop()


@asynccontextmanager
async def _at_work(bots: list[BotProcess], sight: Sight) -> AsyncIterator[None]:
    working = [asyncio.create_task(work) for work in (sight.follow(), *(bot.run() for bot in bots))]
    try:
        yield
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def _settings(world: RealWorld, proxy: FlakyProxy, people: list[Person]) -> dict[str, str]:
    kubeconfig = world.kubeconfig.with_suffix(".flaky")
    kubeconfig.write_text(world.kubeconfig.read_text().replace(world.plane.url, proxy.url))
    return {
        "KUBECONFIG": str(kubeconfig),
        "NAMESPACE": world.namespace,
        "RESEARCHERS": " ".join(person.user for person in people if not person.is_student),
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": "0",
        "SWEEP_INTERVAL": "5s",
        "IDLE_WINDOW": "4h",
    }
