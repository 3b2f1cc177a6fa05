"""What is written down of a start: how its runs ended, with causes from logs, and when it was ready."""

from datetime import timedelta
from typing import Any, Unpack

import pytest

from bot.core.chat.errors import Changed, UserError
from bot.core.chat.text import t
from bot.core.counters import STARTS
from bot.core.deployment.ending import Ending
from bot.core.deployment.record import Record, RecordChanges
from bot.core.deployment.start_times import Stages, StartTimes
from bot.core.deployment.workload import Phase, Spec, Workload
from bot.core.ports import Server
from bot.engines.vllm.engine import Vllm
from bot.services.startup.start_recorder import TIME_TO_READ, StartRecorder, is_settled
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock

STARTED = "INFO [__init__.py:239] Automatically detected platform cuda."
OUT_OF_MEMORY = "ERROR torch.OutOfMemoryError: CUDA out of memory."


class OneWorkload(SimulatedCluster):
    """A model that can be given any state, and the logs of its runs."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        now = clock.now()
        self.workload = Workload(
            spec=Spec(name="m", model="m", repo="a/b", max_model_len=2048),
            record=Record(owner="ada", owner_name="Ada", start_requested_at=now),
            phase=Phase.LOADING,
            since=now,
            created=now,
            version="1",
        )
        self.logs_of_runs: dict[str, str] = {}
        self.refuses: UserError | None = None
        self.tidied = 0

    def find(self, name: str) -> Workload:
        return self.workload

    def servers(self, name: str) -> list[Server]:
        return [Server("uid/0", "http://m")]

    async def log_of_run(self, name: str, run: str, lines: int) -> str:
        if run not in self.logs_of_runs:
            raise UserError(t("error.api_away"))
        return self.logs_of_runs[run]

    async def update_record(self, name: str, version: str = "", **changes: Unpack[RecordChanges]) -> None:
        assert version == self.workload.version, "what was decided on a view is written for that view only"
        if self.refuses:
            raise self.refuses
        record = self.workload.record.changed(**changes)
        self.be(record=record, last_end=record.last_end or self.workload.last_end)

    async def remove_dead_pods(self, name: str) -> None:
        self.tidied += 1

    def be(self, **fields: Any) -> Workload:
        """It is so now."""
        version = str(int(self.workload.version) + 1)
        self.workload = self.workload.model_copy(update={"version": version} | fields)
        return self.workload


@pytest.fixture
def cluster(clock: Clock) -> OneWorkload:
    return OneWorkload(clock)


@pytest.fixture
def recorder(cluster: OneWorkload, clock: Clock) -> StartRecorder:
    return StartRecorder(cluster, Vllm(), clock)


def end(clock: Clock, number: int = 1, cause: str = "crashed", **more: Any) -> Ending:
    fields = {"run": f"uid/{number - 1}", "at": clock.now(), "exit_code": 1, "evidence": "the last line"}
    return Ending(number=number, cause=cause, **(fields | more))


def stages(clock: Clock) -> Stages:
    """Of a pod that is made now, gets a node and its engine after 2 seconds, and takes 68 more."""
    return Stages(run="uid/0", created=clock.now(), waiting=0, preparing=2, pulling=0, running=68)


async def test_the_log_of_the_run_that_ended_says_why(
    cluster: OneWorkload, recorder: StartRecorder, clock: Clock
) -> None:
    cluster.logs_of_runs = {"uid/0": OUT_OF_MEMORY}
    found = (await recorder.note_end(cluster.be(last_end=end(clock)))).record.last_end
    assert found and (found.cause, found.log_read, found.alike) == ("cuda_oom", True, 1)
    assert found.evidence.endswith("CUDA out of memory.") and cluster.tidied == 1


async def test_a_log_that_names_nothing_leaves_what_the_kubelet_said_and_shows_its_exception(
    cluster: OneWorkload, recorder: StartRecorder, clock: Clock
) -> None:
    cluster.logs_of_runs = {
        "uid/0": "INFO fine\n",
        "uid/1": "ERROR\nTraceback (most recent call last):\nOddError: x",
    }
    found = (await recorder.note_end(cluster.be(last_end=end(clock, cause="segfault")))).record.last_end
    assert found and (found.cause, found.evidence, found.log_read) == ("segfault", "the last line", True)
    found = (await recorder.note_end(cluster.be(last_end=end(clock, 2)))).record.last_end
    assert found and (found.cause, found.evidence) == ("crashed", "OddError: x")


async def test_a_log_that_cannot_be_read_is_tried_again_for_a_while(
    cluster: OneWorkload, recorder: StartRecorder, clock: Clock
) -> None:
    failed = await recorder.note_end(cluster.be(phase=Phase.FAILED, last_end=end(clock)))
    assert failed.record.last_end and not failed.record.last_end.log_read
    assert not is_settled(failed, clock.now()) and is_settled(failed, clock.now() + TIME_TO_READ)
    clock.advance(seconds=5)
    cluster.logs_of_runs = {"uid/0": OUT_OF_MEMORY}
    read = await recorder.note_end(cluster.workload)
    assert read.last_end and read.last_end.cause == "cuda_oom" and is_settled(read, clock.now())


async def test_ends_with_the_same_cause_in_their_logs_are_counted(
    cluster: OneWorkload, recorder: StartRecorder, clock: Clock
) -> None:
    cluster.logs_of_runs = {"uid/0": OUT_OF_MEMORY, "uid/1": OUT_OF_MEMORY, "uid/2": "INFO fine"}
    await recorder.note_end(cluster.be(last_end=end(clock, 1)))
    found = (await recorder.note_end(cluster.be(last_end=end(clock, 2)))).record.last_end
    assert found and (found.cause, found.number, found.alike) == ("cuda_oom", 2, 2)
    other = end(clock, 3, "segfault", exit_code=139)
    found = (await recorder.note_end(cluster.be(last_end=other))).record.last_end
    assert found and (found.cause, found.number, found.alike) == ("segfault", 3, 1)


async def test_what_changed_meanwhile_is_not_written_over(
    cluster: OneWorkload, recorder: StartRecorder, clock: Clock
) -> None:
    cluster.logs_of_runs = {"uid/0": OUT_OF_MEMORY}
    cluster.refuses = Changed(t("error.changed", name="m"))
    assert (await recorder.note_end(cluster.be(last_end=end(clock)))).record.last_end is None
    assert cluster.tidied == 0  # the pod that shows it stays until it is written down


async def test_a_start_that_went_through_at_once_is_learned_once(
    cluster: OneWorkload, recorder: StartRecorder, clock: Clock
) -> None:
    cluster.logs_of_runs = {"uid/0": STARTED}
    ready_at = clock.now() + timedelta(seconds=70)
    seen = cluster.be(phase=Phase.READY, since=ready_at, stages=stages(clock))
    clock.advance(seconds=70)
    ready = await recorder.note_ready(seen, "")
    [learned] = ready.record.start_times
    assert (ready.record.ready_at, learned.loading) == (ready_at, 68)
    again = await recorder.note_ready(cluster.be(since=ready_at + timedelta(minutes=9)), "")
    assert (again.record.ready_at, again.record.start_times) == (ready_at, (learned,))


async def test_a_start_that_was_tried_again_teaches_nothing_and_its_ends_are_over(
    cluster: OneWorkload, recorder: StartRecorder, clock: Clock
) -> None:
    cluster.logs_of_runs = {"uid/0": STARTED}
    ready_at = clock.now() + timedelta(seconds=70)
    seen = cluster.be(phase=Phase.READY, since=ready_at, last_end=end(clock), stages=stages(clock))
    clock.advance(seconds=70)
    ready = await recorder.note_ready(seen, "")
    assert (ready.record.ready_at, ready.record.start_times, ready.ends) == (ready_at, (), 0)


async def test_nonsense_is_a_failure_and_no_start(
    cluster: OneWorkload, recorder: StartRecorder, clock: Clock
) -> None:
    found = (await recorder.note_ready(cluster.be(phase=Phase.READY), "!!!!")).record
    assert found.last_end and (found.last_end.cause, found.ready_at) == ("garbled_answers", None)
    assert (found.last_end.run, found.start_times) == ("uid/0", ())


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
def sealed(clock: Clock) -> Sealed:
    return Sealed(clock)


async def deploy(sealed: SimulatedCluster, clock: Clock, spec: Spec = SPEC) -> None:
    await sealed.create(spec, Record(owner="ada", owner_name="ada", start_requested_at=clock.now()))


def now_of(sealed: SimulatedCluster) -> Workload:
    [workload] = sealed.workloads()
    return workload


async def until_ready(sealed: SimulatedCluster, clock: Clock, seconds: int = 400) -> None:
    """So many seconds in which nobody watches."""
    for _ in range(seconds):
        clock.advance(seconds=1)
        sealed.step()
    assert now_of(sealed).phase is Phase.READY


async def learn(sealed: SimulatedCluster, clock: Clock) -> tuple[StartTimes, ...]:
    """As a bot does that has just been started: it knows nothing of what was before."""
    await StartRecorder(sealed, Vllm(), clock).note_ready(now_of(sealed), "")
    return now_of(sealed).record.start_times


async def wake(sealed: SimulatedCluster, clock: Clock) -> None:
    await sealed.scale("m", 0)
    record = now_of(sealed).record.restarted(clock.now(), None)
    await sealed.change(now_of(sealed).spec, record, awake=True)


async def test_the_stages_of_a_first_start_and_of_a_wake(sealed: Sealed, clock: Clock) -> None:
    await deploy(sealed, clock)
    await until_ready(sealed, clock)
    assert await learn(sealed, clock) == (FIRST,)
    await wake(sealed, clock)
    await until_ready(sealed, clock)
    assert await learn(sealed, clock) == (FIRST, AGAIN)
    assert await learn(sealed, clock) == (FIRST, AGAIN)  # each start once


async def test_a_bot_that_was_away_for_a_day_learns_the_same(sealed: Sealed, clock: Clock) -> None:
    await deploy(sealed, clock)
    await until_ready(sealed, clock)
    clock.advance(days=1)
    assert await learn(sealed, clock) == (FIRST,)


async def test_a_bot_that_is_restarted_while_it_loads_learns_the_same(sealed: Sealed, clock: Clock) -> None:
    await deploy(sealed, clock)
    clock.advance(seconds=120)
    sealed.step()
    assert now_of(sealed).phase is Phase.LOADING and await learn(sealed, clock) == ()
    await until_ready(sealed, clock)
    assert await learn(sealed, clock) == (FIRST,)


async def test_ten_minutes_without_a_free_gpu_are_not_loading(sealed: Sealed, clock: Clock) -> None:
    sealed.cordoned |= {"icc-gpu-1", "icc-gpu-2"}
    await deploy(sealed, clock)
    clock.advance(minutes=10)
    sealed.cordoned.clear()
    sealed.step()
    await until_ready(sealed, clock)
    assert await learn(sealed, clock) == (FIRST.model_copy(update={"waiting": 600}),)


async def test_a_scale_that_restarts_nothing_teaches_nothing(sealed: Sealed, clock: Clock) -> None:
    await deploy(sealed, clock)
    await until_ready(sealed, clock)
    await learn(sealed, clock)
    record = now_of(sealed).record.restarted(clock.now(), None)
    await sealed.change(SPEC.model_copy(update={"replicas": 2}), record, awake=True)
    assert now_of(sealed).phase is Phase.READY and await learn(sealed, clock) == (FIRST,)
    await until_ready(sealed, clock)
    assert await learn(sealed, clock) == (FIRST,)


async def test_what_was_restarted_teaches_nothing(sealed: Sealed, clock: Clock) -> None:
    await deploy(sealed, clock)
    clock.advance(seconds=60)
    sealed.fail("m", "cuda_oom")
    recorder = StartRecorder(sealed, Vllm(), clock)
    await recorder.note_end(now_of(sealed))
    ended = now_of(sealed)
    assert ended.record.last_end and ended.record.last_end.cause == "cuda_oom"
    await sealed.remove("m")
    await sealed.create(SPEC, ended.record)
    await until_ready(sealed, clock)
    again = now_of(sealed).model_copy(update={"last_end": ended.record.last_end})
    await recorder.note_ready(again, "")
    assert now_of(sealed).record.ready_at and now_of(sealed).record.start_times == ()


async def test_a_log_that_cannot_be_read_teaches_nothing(sealed: Sealed, clock: Clock) -> None:
    await deploy(sealed, clock)
    await until_ready(sealed, clock)
    sealed.away = True
    assert await learn(sealed, clock) == ()
    assert now_of(sealed).record.ready_at


async def test_five_starts_are_kept_and_counted(sealed: Sealed, clock: Clock) -> None:
    def counted() -> float:
        [found] = [s for m in STARTS.collect() for s in m.samples if s.name.endswith("_count")]
        return found.value

    before = counted()
    await deploy(sealed, clock)
    for _ in range(6):
        await until_ready(sealed, clock)
        await learn(sealed, clock)
        await wake(sealed, clock)
    assert now_of(sealed).record.start_times == (AGAIN,) * 5
    assert counted() == before + 6
