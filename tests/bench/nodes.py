"""On real nodes: the bot in its pod, models beside it. `python -m tests.bench.nodes` measures these alone."""

import asyncio
import json
import os
import re
import statistics
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from tests.bench import missing, row
from tests.conftest import eventually
from tests.e2e.bot_in_pod import BotInPod, bot_in_pod, until
from tests.real import stand_in
from tests.real.clusters import some_cluster

Json = dict[str, Any]
RUNS = 3
STATE = "jsonpath={.status.containerStatuses[0].state}{'\\n'}"
LOADS = 10
"""Seconds that the model of the comparison loads: only what comes on top is measured."""
MANY = 200
"""Models that are there, each with a pod."""


async def measure() -> list[Json]:
    """With images that are built first."""
    for variable in ("KUBEBUILDER_ASSETS", "VLLM_BIN"):
        if not os.environ.get(variable):
            return [missing("on real nodes", variable)]
    with (
        tempfile.TemporaryDirectory() as folder,
        some_cluster(Path(os.environ["VLLM_BIN"]), Path(folder)) as cluster,
    ):
        began = time.monotonic()
        async with bot_in_pod(cluster, "bench") as bot:
            await bot.answer("status")
            rows = [
                row(
                    "install to first answer in the chat, s", time.monotonic() - began, 15, "kubectl apply -k"
                )
            ]
            rows += [row("the bot's pod, started to ready, s", _ready_after(bot), 3, "whole seconds")]
            rows += await _wakes(bot)
            rows += await _shown(bot)
            rows += await _many(bot)
            return rows


def _ready_after(bot: BotInPod) -> float:
    """Between the kubelet's stamps."""
    [pod] = bot.cluster.pods(bot.namespace, "app.kubernetes.io/name=llm-bot")
    [status] = pod["status"]["containerStatuses"]
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    return _stamp(ready["lastTransitionTime"]) - _stamp(status["state"]["running"]["startedAt"])


async def _wakes(bot: BotInPod) -> list[Json]:
    """Wakes by a question and by `kubectl scale`, in turn; what a real vLLM adds nothing to."""
    await bot.mutate("llm-wakes", stand_in.patch(seconds=LOADS))
    await bot.deploy("wakes")
    await until(lambda: bot.pods("wakes"))
    await _ready(bot, "wakes")
    by_bot, by_kubectl, late = [], [], []
    for _ in range(RUNS):
        await _sleep(bot)
        asked = bot.chat.say(bot.ada, "@llm ask wakes hello")
        began = time.monotonic()
        await _ready(bot, "wakes")
        by_bot.append(time.monotonic() - began)
        await bot.answered(asked)
        late.append(time.time() - await _complete(bot))
        await _sleep(bot)
        scale = ("scale", "deployment/llm-wakes", "--replicas=1")
        began = time.monotonic()
        await bot.kubectl(*scale)
        await _ready(bot, "wakes")
        by_kubectl.append(time.monotonic() - began)
    ours, theirs = statistics.median(by_bot), statistics.median(by_kubectl)
    slowest = f"slowest of {RUNS}, median {statistics.median(late):.2f}"
    return [
        row("wake by a question : kubectl scale", ours / theirs, 1.03, f"{ours:.1f} against {theirs:.1f} s"),
        row("startup complete to first token, s", max(late), 1.5, slowest),
    ]


async def _sleep(bot: BotInPod) -> None:
    await bot.answer("sleep wakes")
    await until(lambda: not bot.pods("wakes"))


async def _ready(bot: BotInPod, name: str) -> None:
    """A watch, so that nothing is lost between two looks."""
    ready = "--for=jsonpath={.status.readyReplicas}=1"
    await bot.kubectl("wait", ready, f"deployment/llm-{name}", "--timeout=120s")


async def _complete(bot: BotInPod) -> float:
    """When the engine said that it is up, by the clock that is everybody's here."""
    log = await bot.kubectl("logs", "deployment/llm-wakes", "--timestamps")
    return _stamp(next(line for line in log.splitlines() if "startup complete" in line).split()[0])


async def _shown(bot: BotInPod) -> list[Json]:
    """From when somebody else who watches sees an end until the chat shows it."""
    late = []
    for number in range(RUNS):
        name = f"ends{number}"
        await bot.mutate(f"llm-{name}", stand_in.patch(ends="1 1 1 1 1 1 1 1"))
        seen: list[float] = []
        with bot.cluster.watched(bot.namespace, f"llm-bot/workload=llm-{name}", STATE) as lines:
            reader = threading.Thread(target=_first_end, args=(lines, seen))
            reader.start()
            card = await bot.deploy(name)
            shown = await _end_shown(card)
            await asyncio.to_thread(reader.join)
        late.append(shown - seen[0])
        await bot.answer(f"stop {name} --sure")
    return [row("an end, from the API to the chat, s", max(late), 1, f"slowest of {RUNS}")]


async def _end_shown(card: Json) -> float:
    """When the card speaks of an end."""
    await eventually(lambda: "ended" in card["message"] or "✕" in card["message"])
    return time.time()


def _first_end(lines: IO[str], seen: list[float]) -> None:
    next(line for line in lines if "terminated" in line)
    seen.append(time.time())


async def _many(bot: BotInPod) -> list[Json]:
    """Copies of a model whose pods nobody places: the bot sees them all."""
    before = await _resident(bot)
    made = bot.cluster.get(bot.namespace, "deployment", "llm-wakes")
    texts = (json.dumps(_copy(made, number)) for number in range(MANY))
    listed = f'{{"apiVersion": "v1", "kind": "List", "items": [{", ".join(texts)}]}}'
    await bot.kubectl("create", "-f", "-", stdin=listed)
    await until(lambda: len(bot.all_pods()) >= MANY)
    await asyncio.sleep(60)  # its sweeps are part of it
    after = await _resident(bot)
    detail = f"resident; {before:.0f} before, with one"
    return [row(f"memory of the bot with {MANY} pods watched, MiB", after, 160, detail)]


def _copy(deployment: Json, number: int) -> Json:
    text = (
        json.dumps(deployment).replace("llm-wakes", f"llm-many{number}").replace('"wakes"', f'"many{number}"')
    )
    copy: Json = json.loads(text)
    meta = copy["metadata"]
    copy["metadata"] = {key: meta[key] for key in ("name", "labels", "annotations")}
    copy["spec"]["template"]["spec"]["schedulerName"] = "nobody"
    copy["spec"]["replicas"] = 1
    copy.pop("status")
    return copy


async def _resident(bot: BotInPod) -> float:
    """Of the bot's process, in MiB."""
    said = await bot.kubectl("exec", "deployment/llm-bot", "--", "cat", "/proc/1/status")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", said)[0]) / 1024


def _stamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    for line in asyncio.run(measure()):
        print(*(line[key] for key in ("what", "value", "limit", "detail")), sep="   ")
