"""A model's server whose metrics are nonsense, wholly or in part: its use is unknown then, never idle, and
nobody waits for it."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from time import monotonic

import pytest
import pytest_asyncio

from bot.app.application import App
from bot.core.deployment.workload import Phase
from bot.core.idle.verdict import IdleState
from bot.core.ports import Server
from bot.engines.vllm.inference import VllmInference
from bot.engines.vllm.metrics import MOST_SERIES, parse_load
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Ask, Clock, PassTime
from tests.fakes.hostile import MEBIBYTE, Hostile, Script, drip, endless, hostile, plain

GOOD = b"""\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 0.0
vllm:num_requests_waiting{model_name="m"} 0.0
vllm:prompt_tokens_total{model_name="m"} 100.0
vllm:generation_tokens_total{model_name="m"} 23.0
"""
ONE = b'vllm:num_requests_running{engine="1"} '
LABELS = b",".join(b'l%d="v"' % number for number in range(20_000))
NONSENSE = {
    "infinite": GOOD + ONE + b"+Inf\n",
    "less than infinite": GOOD + ONE + b"-Inf\n",
    "no number": GOOD + ONE + b"NaN\n",
    "negative": GOOD + ONE + b"-1\n",
    "huge": GOOD + ONE + b"1e300\n",
    "5,000 digits": GOOD + ONE + b"9" * 5000 + b"\n",
    "400 digits": GOOD + ONE + b"9" * 400 + b"\n",
    "no value": GOOD + ONE + b"\n",
    "a word": GOOD + ONE + b"many\n",
    "tokens beyond what counts one more": GOOD.replace(b"23.0", b"9007199254740993"),
    "not UTF-8": GOOD + b'vllm:num_requests_running{engine="\xff"} 0\n',
    "brackets": GOOD + b"vllm:num_requests_running" + b"{" * 1000 + b" 0\n",
    "an open quote": GOOD + b'vllm:num_requests_running{engine="1 0\n',
    "the same label twice": GOOD + b'vllm:num_requests_running{a="1",a="2"} 0\n',
    "20,000 labels": GOOD + b"vllm:num_requests_running{" + LABELS + b"} 0\n",
    "20,000 series": GOOD + (ONE + b"0\n") * 20_000,
    "nobody says who waits": GOOD.replace(b"_waiting", b"_wanting"),
    "no gauge at all": GOOD.replace(b"vllm:num", b"other:num"),
    "a page": b"<html>It works!</html>",
    "nothing": b"",
    "millions of empty lines": b"\n" * 2**22,
}


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[Hostile]:
    async with hostile() as server:
        server.scripts["/metrics"] = plain(GOOD)
        yield server


def test_what_makes_sense_is_read_also_beside_much_else() -> None:
    engines = b"".join(b'%s{engine="%d"} 1\n' % (ONE.partition(b"{")[0], number) for number in range(16))
    load = parse_load(b'# HELP x\nx{a="\xff"} +Inf\n' * 1000 + GOOD + engines)
    assert load is not None and (load.running, load.waiting, load.tokens) == (16, 0, 123.0)


@pytest.mark.parametrize("exposition", NONSENSE.values(), ids=NONSENSE)
def test_kind_09_what_is_partly_nonsense_says_nothing_and_soon(exposition: bytes) -> None:
    begun = monotonic()
    assert parse_load(exposition) is None
    assert monotonic() - begun < 5


def test_kind_09_the_longest_that_is_read_is_read_soon() -> None:
    labels = b",".join(b'l%d="v"' % number for number in range(50))
    begun = monotonic()
    assert parse_load(GOOD + (b"vllm:num_requests_running{%s} 0\n" % labels) * (MOST_SERIES - 4))
    assert monotonic() - begun < 10


def test_kind_09_metrics_that_are_damaged_at_random_raise_nothing() -> None:
    chance = random.Random(7)
    for _ in range(20_000):
        damaged = bytearray(GOOD)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randint(0, 3)] = chance.choice(
                [b"", b'"', b"{", b"}", b"=", b",", b"\\", b" ", b"\t", b"\n", b"\xff", b"#", b"e", b"-"]
            )
        load = parse_load(bytes(damaged))
        assert load is None or (load.running >= 0 and load.waiting >= 0 and load.tokens >= 0)


@pytest.mark.parametrize(
    "script",
    [endless(GOOD, MEBIBYTE, mebibytes=996), endless(b"", b"\n" * 2**16, mebibytes=996), drip(GOOD, 0.05)],
    ids=["996 MB", "996 MB of empty lines", "a slow drip"],
)
async def test_kind_16_a_scrape_is_bounded_in_bytes_and_time(
    fake: Hostile, inference: VllmInference, script: Script
) -> None:
    fake.scripts["/metrics"] = script
    async with asyncio.timeout(30):
        assert await inference.load(fake.url) is None
    assert fake.written < 16 * 2**20


class Elsewhere(SimulatedCluster):
    """The servers of one model are elsewhere."""

    url_of_tinyllama = ""

    def servers(self, name: str) -> Sequence[Server]:
        found = super().servers(name)
        return [replace(it, url=self.url_of_tinyllama) for it in found] if name == "tinyllama" else found


@pytest.fixture
def cluster(clock: Clock) -> Elsewhere:
    return Elsewhere(clock)


@pytest.mark.parametrize("exposition", [NONSENSE["infinite"], NONSENSE["20,000 labels"], GOOD])
async def test_kind_09_a_model_with_nonsense_for_metrics_stays_awake_while_others_go_to_sleep(
    bot: App,
    ask: Ask,
    pass_time: PassTime,
    cluster: Elsewhere,
    clock: Clock,
    fake: Hostile,
    exposition: bytes,
) -> None:
    fake.scripts["/metrics"] = plain(exposition)
    cluster.url_of_tinyllama = fake.url
    await ask("deploy tinyllama")
    await ask("deploy qwen2.5-7b")
    await pass_time(400)
    for _ in range(45):
        clock.advance(minutes=1)
        cluster.step()
        await bot.sweep()
    hostile, other = (bot.services.lifecycle.find(name) for name in ("tinyllama", "qwen2.5-7b"))
    assert other.phase is Phase.ASLEEP
    if exposition == GOOD:
        assert hostile.phase is Phase.ASLEEP
    else:
        assert hostile.phase is Phase.READY
        assert bot.services.activity.verdict(hostile).state is IdleState.UNKNOWN
