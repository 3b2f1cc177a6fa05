"""How far a start is: read from the log again and again, and told when it gets further."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from bot.core.bulkhead import Bulkhead
from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.deployment.record import Record
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.engines.vllm.engine import Vllm
from bot.services.startup.progress import LOOK_EVERY, StartupProgress
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock, Say, settle

STARTS = "INFO Starting to load model x"
SHARD_1, SHARD_2 = (f"Loading safetensors checkpoint shards:  {n}5% Completed | {n}/4" for n in (1, 2))


class Watched:
    """A model that loads, with a log that can be set, or be out of reach; and what was told."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.log, self.phase, self.away = clock, "", Phase.LOADING, False
        self.progress = StartupProgress(OneModel(clock, self), Vllm(), clock, Bulkhead())
        self.told: list[str] = []

    @property
    def workload(self) -> Workload:
        spec = Spec(name="m", model="m", repo="a/b", max_model_len=2048, weights_gib=15.0)
        now = self.clock.now()
        record = Record(owner="ada", owner_name="ada", start_requested_at=now)
        return Workload(spec=spec, record=record, phase=self.phase, since=now, created=now)

    async def look(self, log: str | None = None) -> None:
        """A look later, with this in the log."""
        if log is not None:
            self.log = log
        self.clock.advance(seconds=LOOK_EVERY)
        await settle()

    async def listen(self) -> None:
        with self.progress.changes() as names:
            async for name in names:
                self.told.append(name)


class OneModel(SimulatedCluster):
    """The model is all that there is."""

    def __init__(self, clock: Clock, watched: Watched) -> None:
        super().__init__(clock)
        self._watched = watched

    def workloads(self) -> list[Workload]:
        return [self._watched.workload]

    async def logs(self, name: str, lines: int) -> str:
        if self._watched.away:
            raise UserError(t("error.api_away"))
        return self._watched.log


@pytest_asyncio.fixture
async def watched(clock: Clock) -> AsyncIterator[Watched]:
    watched = Watched(clock)
    tasks = [asyncio.create_task(work()) for work in (watched.listen, watched.progress.run)]
    await settle()
    yield watched
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def shown(watched: Watched, say: Say) -> str:
    found = watched.progress.of(watched.workload)
    return say(found.text) if found else ""


async def test_it_is_told_once_for_each_step(watched: Watched, say: Say) -> None:
    assert shown(watched, say) == "" and watched.told == []
    await watched.look(SHARD_1)
    assert shown(watched, say) == "shard 1 of 4" and watched.told == ["m"]
    await watched.look()
    assert watched.told == ["m"]  # nothing new
    await watched.look(SHARD_2)
    assert shown(watched, say) == "shard 2 of 4" and watched.told == ["m", "m"]


async def test_nobody_looks_more_often_than_every_few_seconds(watched: Watched, say: Say) -> None:
    watched.log = SHARD_1
    watched.clock.advance(seconds=LOOK_EVERY - 1)
    await settle()
    assert shown(watched, say) == ""
    watched.clock.advance(seconds=1)
    await settle()
    assert shown(watched, say) == "shard 1 of 4"


async def test_a_log_that_cannot_be_read_changes_nothing(watched: Watched, say: Say) -> None:
    await watched.look(SHARD_1)
    watched.away = True
    await watched.look(SHARD_2)
    assert shown(watched, say) == "shard 1 of 4" and watched.told == ["m"]
    watched.away = False
    await watched.look()
    assert shown(watched, say) == "shard 2 of 4"


async def test_what_is_no_longer_starting_has_no_progress_and_begins_anew(watched: Watched, say: Say) -> None:
    await watched.look(SHARD_1)
    watched.phase = Phase.READY
    assert shown(watched, say) == ""
    await watched.look("")
    watched.phase = Phase.LOADING
    await watched.look()
    assert shown(watched, say) == ""  # of the start before nothing is left
    await watched.look(SHARD_1)
    assert shown(watched, say) == "shard 1 of 4" and watched.told == ["m", "m"]


async def test_a_download_counts_as_a_start(watched: Watched, say: Say) -> None:
    await watched.look(STARTS)
    watched.phase = Phase.DOWNLOADING
    assert shown(watched, say) == "downloading the weights"
