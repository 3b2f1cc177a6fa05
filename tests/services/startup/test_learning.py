"""What is learned of a start when it is ready, and what of it survives a bot that is away."""

import pytest

from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.core.counters import STARTS
from bot.core.deployment.record import Record
from bot.core.deployment.start_times import StartTimes
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.engines.vllm.engine import Vllm
from bot.services.startup.start_recorder import StartRecorder
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock

SPEC = Spec(name="m", model="m", repo="a/b", max_model_len=2048, weights_gib=15.0)
FIRST = StartTimes(waiting=0, pulling=40, downloading=60, loading=77)
AGAIN = StartTimes(waiting=0, pulling=0, downloading=0, loading=77)


class Sealed(SimulatedCluster):
    """A cluster whose logs can be out of reach."""

    away = False

    async def log_of_run(self, name: str, run: str, lines: int) -> str:
        if self.away:
            raise UserError(t("error.api_away"))
        return await super().log_of_run(name, run, lines)


@pytest.fixture
def cluster(clock: Clock) -> Sealed:
    return Sealed(clock)


async def deploy(cluster: SimulatedCluster, clock: Clock, spec: Spec = SPEC) -> None:
    await cluster.create(spec, Record(owner="ada", owner_name="ada", start_requested_at=clock.now()))


def now_of(cluster: SimulatedCluster) -> Workload:
    [workload] = cluster.workloads()
    return workload


async def until_ready(cluster: SimulatedCluster, clock: Clock, seconds: int = 400) -> None:
    """So many seconds in which nobody watches."""
    for _ in range(seconds):
        clock.advance(seconds=1)
        cluster.step()
    assert now_of(cluster).phase is Phase.READY


async def learn(cluster: SimulatedCluster, clock: Clock) -> tuple[StartTimes, ...]:
    """As a bot does that has just been started: it knows nothing of what was before."""
    await StartRecorder(cluster, Vllm(), clock).note_ready(now_of(cluster), "")
    return now_of(cluster).record.start_times


async def wake(cluster: SimulatedCluster, clock: Clock) -> None:
    await cluster.scale("m", 0)
    record = now_of(cluster).record.restarted(clock.now(), None)
    await cluster.change(now_of(cluster).spec, record, awake=True)


async def test_the_stages_of_a_first_start_and_of_a_wake(cluster: Sealed, clock: Clock) -> None:
    await deploy(cluster, clock)
    await until_ready(cluster, clock)
    assert await learn(cluster, clock) == (FIRST,)
    await wake(cluster, clock)
    await until_ready(cluster, clock)
    assert await learn(cluster, clock) == (FIRST, AGAIN)
    assert await learn(cluster, clock) == (FIRST, AGAIN)  # each start once


async def test_a_bot_that_was_away_for_a_day_learns_the_same(cluster: Sealed, clock: Clock) -> None:
    await deploy(cluster, clock)
    await until_ready(cluster, clock)
    clock.advance(days=1)
    assert await learn(cluster, clock) == (FIRST,)


async def test_a_bot_that_is_restarted_while_it_loads_learns_the_same(cluster: Sealed, clock: Clock) -> None:
    await deploy(cluster, clock)
    clock.advance(seconds=120)
    cluster.step()
    assert now_of(cluster).phase is Phase.LOADING and await learn(cluster, clock) == ()
    await until_ready(cluster, clock)
    assert await learn(cluster, clock) == (FIRST,)


async def test_ten_minutes_without_a_free_gpu_are_not_loading(cluster: Sealed, clock: Clock) -> None:
    cluster.cordoned |= {"icc-gpu-1", "icc-gpu-2"}
    await deploy(cluster, clock)
    clock.advance(minutes=10)
    cluster.cordoned.clear()
    cluster.step()
    await until_ready(cluster, clock)
    assert await learn(cluster, clock) == (FIRST.model_copy(update={"waiting": 600}),)


async def test_a_scale_that_restarts_nothing_teaches_nothing(cluster: Sealed, clock: Clock) -> None:
    await deploy(cluster, clock)
    await until_ready(cluster, clock)
    await learn(cluster, clock)
    record = now_of(cluster).record.restarted(clock.now(), None)
    await cluster.change(SPEC.model_copy(update={"replicas": 2}), record, awake=True)
    assert now_of(cluster).phase is Phase.READY and await learn(cluster, clock) == (FIRST,)
    await until_ready(cluster, clock)
    assert await learn(cluster, clock) == (FIRST,)


async def test_what_was_restarted_teaches_nothing(cluster: Sealed, clock: Clock) -> None:
    await deploy(cluster, clock)
    clock.advance(seconds=60)
    cluster.fail("m", "cuda_oom")
    recorder = StartRecorder(cluster, Vllm(), clock)
    await recorder.note_end(now_of(cluster))
    ended = now_of(cluster)
    assert ended.record.last_end and ended.record.last_end.cause == "cuda_oom"
    await cluster.remove("m")
    await cluster.create(SPEC, ended.record)
    await until_ready(cluster, clock)
    again = now_of(cluster).model_copy(update={"last_end": ended.record.last_end})
    await recorder.note_ready(again, "")
    assert now_of(cluster).record.ready_at and now_of(cluster).record.start_times == ()


async def test_a_log_that_cannot_be_read_teaches_nothing(cluster: Sealed, clock: Clock) -> None:
    await deploy(cluster, clock)
    await until_ready(cluster, clock)
    cluster.away = True
    assert await learn(cluster, clock) == ()
    assert now_of(cluster).record.ready_at


async def test_five_starts_are_kept_and_counted(cluster: Sealed, clock: Clock) -> None:
    def counted() -> float:
        [found] = [s for m in STARTS.collect() for s in m.samples if s.name.endswith("_count")]
        return found.value

    before = counted()
    await deploy(cluster, clock)
    for _ in range(6):
        await until_ready(cluster, clock)
        await learn(cluster, clock)
        await wake(cluster, clock)
    assert now_of(cluster).record.start_times == (AGAIN,) * 5
    assert counted() == before + 6
