"""What only a real kubelet showed: untruth and noise about starts, each kind as a test of its own.

One bot, many models at once, since waiting is what takes time: a module's fixture starts them all, each test
waits for what is told of its own. What the image weighs is tested in test_image.py."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import eventually
from tests.e2e.bot_in_pod import BotInPod, bot_in_pod, failures, told, until
from tests.real import stand_in
from tests.real.cluster import RealCluster

pytestmark = pytest.mark.asyncio(loop_scope="module")
Json = dict[str, Any]
NO_KERNEL = "RuntimeError: CUDA error: no kernel image is available for execution on the device"
NO_SHM = """\
(EngineCore pid=29) ERROR 11-27 10:32:12 [core.py:1510] RuntimeError: Insufficient space in /dev/shm: \
160 MiB required, 64 MiB free
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"""
LATE = {"envFrom": [{"secretRef": {"name": "late"}}]}
PROBE = {"startupProbe": {"failureThreshold": 8}}
LEARNED = "llm-bot/start-times"
FILLER = {"cpu": "1500m"}
"""Of the two CPUs of a GPU node: what waits asks for one."""
MODELS = {
    "flaps": stand_in.patch(container={"command": ["no-such-program"]}),
    "late": stand_in.patch(container=LATE),
    "thrice": stand_in.patch(ends="139 0"),
    "caused": stand_in.patch(ends="1 1 1 1 1 1", says=NO_KERNEL),
    "shm": stand_in.patch(ends="1 1 1 1 1 1", says=NO_SHM),
    "slow": stand_in.patch(seconds=20, container=PROBE),
    "stays": stand_in.patch(),
    "waits": stand_in.patch(container={"resources": {"requests": {"cpu": "1"}}}),
}


class Kinds:
    """The bot, and the cards of the models by name."""

    def __init__(self, bot: BotInPod) -> None:
        self.bot = bot
        self.cards: dict[str, Json] = {}

    async def begin(self) -> None:
        """Deploy all of them."""
        for node in ("gpu-node-1", "gpu-node-2"):
            await self.bot.kubectl("create", "-f", "-", stdin=stand_in.filler(node, FILLER))
        await asyncio.gather(*(self.bot.mutate(f"llm-{name}", patch) for name, patch in MODELS.items()))
        for name in MODELS:
            self.cards[name] = await self.bot.deploy(name)

    def history(self, name: str) -> list[str]:
        """What the card of a model has said; nothing else was said of it, but that it was given up."""
        card, *given_up = self.bot.chat.posted("c1", self.cards[name]["root_id"])
        assert all("failed and gave its GPU back" in post["message"] for post in given_up)
        return told(card)

    async def said(self, name: str, words: str) -> str:
        """Wait for words on the card, which may have changed since; the whole of it then."""
        await eventually(lambda: any(words in text for text in self.history(name)))
        return next(text for text in self.history(name) if words in text)

    async def says(self, name: str, words: str) -> str:
        """Wait for words on the card; the whole of it."""
        await eventually(lambda: words in self.history(name)[-1])
        return self.history(name)[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kinds(real_cluster: RealCluster) -> AsyncIterator[Kinds]:
    async with bot_in_pod(real_cluster, "kinds", IDLE_WINDOW="1h") as bot:
        kinds = Kinds(bot)
        await kinds.begin()
        yield kinds


async def test_a_wait_that_mends_itself_is_no_failure(kinds: Kinds) -> None:
    await kinds.says("late", "late · ")
    await eventually(lambda: any("is not there yet" in text for text in kinds.history("late")))
    await kinds.bot.kubectl("create", "secret", "generic", "late", "--from-literal=key=1")
    await kinds.says("late", "late is ready")
    assert not any("✕" in text for text in kinds.history("late"))
    assert kinds.bot.alerts("late") == []


async def test_a_pod_that_dies_again_and_again_is_told_once(kinds: Kinds) -> None:
    await kinds.said("flaps", "did not start: the program is not in its image")
    await kinds.said("flaps", "tried 3 times")
    assert failures(kinds.history("flaps")) == 1
    [alert] = kinds.bot.alerts("flaps")
    assert failures(told(alert)) == 1 and "the program is not in its image" in alert["message"]


async def test_a_restart_is_a_try_and_its_exit_code_has_words(kinds: Kinds) -> None:
    await kinds.said("thrice", "thrice is ready")
    history = kinds.history("thrice")
    second = next(n for n, text in enumerate(history) if "Try 2" in text)
    assert "a crash of the engine (SIGSEGV), exit code 139" in history[second]
    assert any("vLLM ended by itself, without an error" in text for text in history)
    assert not any("pulling" in text for text in history[second:])
    await kinds.bot.answer("stop thrice --sure")


async def test_what_the_startup_probe_killed_was_not_ready_in_time(kinds: Kinds) -> None:
    await kinds.said("slow", "it was not ready in time")
    await kinds.bot.answer("stop slow --sure")


async def test_a_cause_is_kept_and_told_alike(kinds: Kinds) -> None:
    cause = "the image has no kernels for this GPU"
    first = kinds.history("caused").index(await kinds.said("caused", f"did not start: {cause}"))
    for line in ("status caused", "why caused"):
        assert cause in await kinds.bot.answer(line)
    await kinds.said("caused", "tried 3 times")
    assert all(cause in text for text in kinds.history("caused")[first:] if text.startswith("✕"))
    [alert] = kinds.bot.alerts("caused")
    assert cause in alert["message"] and failures(told(alert)) == 1


async def test_the_root_cause_is_followed(kinds: Kinds) -> None:
    card = await kinds.said("shm", "did not start: its GPUs could not talk to each other")
    assert "Insufficient space in /dev/shm: 160 MiB required" in card and "See root cause" not in card


async def test_not_enough_cpu_is_said_and_the_wait_teaches_nothing(kinds: Kinds) -> None:
    card = await kinds.says("waits", "no node with a free GPU has enough CPU left")
    assert re.search(r"It asks for 1(\.0)? CPUs?; .* has the most left: 0\.\d", card)
    await until(lambda: waited(kinds, "waits") > 30)
    await kinds.bot.kubectl("delete", "pods", "--selector=filler", "--grace-period=1")
    await kinds.says("waits", "waits is ready")

    def learned() -> str:
        made = kinds.bot.cluster.get(kinds.bot.namespace, "deployment", "llm-waits")
        return str(made["metadata"]["annotations"].get(LEARNED, ""))

    await until(learned)
    [loading] = re.findall(r'"loading": ?([\d.]+)', learned())
    [waiting] = re.findall(r'"waiting": ?([\d.]+)', learned())
    assert float(loading) < 25 < float(waiting)


async def test_a_console_beside_the_bot_waits_for_its_own_alone(kinds: Kinds) -> None:
    await kinds.bot.mutate("llm-guest", stand_in.patch())
    before = {name: post["message"] for name, post in kinds.bot.chat.posts.items()}
    lines = ("deploy tinyllama name=guest", "status")
    said = await asyncio.to_thread(kinds.bot.cluster.console, kinds.bot.namespace, *lines)
    assert "guest is ready" in said
    for line in said.partition("> status")[0].splitlines():
        assert "no-such-program" not in line or "flaps" in line
    log = await kinds.bot.kubectl("logs", "deployment/llm-bot")
    assert "no_platform" not in log and "Traceback" not in log
    assert before.keys() == {p["id"] for p in kinds.bot.chat.posts.values() if "guest" not in p["message"]}


async def test_a_wake_goes_to_the_last_node_and_is_noticed_at_once(kinds: Kinds) -> None:
    await kinds.bot.mutate("llm-wakes", stand_in.patch(seconds=11))
    kinds.cards["wakes"] = await kinds.bot.deploy("wakes")
    await kinds.says("wakes", "wakes is ready")
    [pod] = kinds.bot.pods("wakes")
    node = pod["spec"]["nodeName"]
    assert "wakes goes to sleep" in await kinds.bot.answer("sleep wakes")
    await until(lambda: not kinds.bot.pods("wakes"))
    await kinds.bot.kubectl("create", "-f", "-", stdin=stand_in.filler(node, {"cpu": "1"}))
    asked = kinds.bot.chat.say(kinds.bot.ada, "@llm ask wakes hello")
    await kinds.bot.answered(asked)
    answered = time.time()
    [pod] = kinds.bot.pods("wakes")
    assert pod["spec"]["nodeName"] == node
    log = await kinds.bot.kubectl("logs", "deployment/llm-wakes", "--timestamps")
    up = next(line for line in log.splitlines() if "startup complete" in line).split()[0]
    assert answered - datetime.fromisoformat(up).timestamp() < 5


async def test_a_node_that_comes_back_is_no_new_start(kinds: Kinds) -> None:
    await kinds.says("stays", "stays is ready")
    before = len(kinds.history("stays"))
    [pod] = kinds.bot.pods("stays")
    node = pod["spec"]["nodeName"]
    await asyncio.to_thread(kinds.bot.cluster.lose, node)
    await kinds.says("stays", "a node it ran on is not responding")
    await asyncio.to_thread(kinds.bot.cluster.back, node)
    await kinds.says("stays", "● stays is ready")
    since = kinds.history("stays")[before:]
    assert not any("did not start" in text or "loading" in text or "warming" in text for text in since)
    [alert] = kinds.bot.alerts("stays")
    await eventually(lambda: "resolved" in alert["message"])


def waited(kinds: Kinds, name: str) -> float:
    """Seconds since a model's pod was made."""
    [pod] = kinds.bot.pods(name)
    return time.time() - datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()
