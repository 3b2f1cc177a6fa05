"""A GPU comes back by itself, on real parts: real API server and scheduler, a real vLLM, a short window."""

import asyncio
from datetime import timedelta
from pathlib import Path
from time import monotonic

from bot.app.application import App
from bot.app.settings import Settings
from bot.cluster.adapter import KubernetesCluster
from bot.core.chat.message import Message, User
from bot.core.chat.reply import Reply
from bot.core.deployment.workload import Phase
from tests.conftest import THREAD, Chat, Say, eventually
from tests.real.control_plane import ControlPlane
from tests.real.vllm import START_SECONDS, VllmContainers, make_model
from tests.real.world import at_work, real_world

WHOLE_STORY = 900
"""Seconds; an idle machine needs 90."""
WINDOW = {"idle_window": timedelta(seconds=12), "idle_warning": timedelta(seconds=4)}


async def test_idle_is_announced_sleeps_and_a_question_wakes_it(
    control_plane: ControlPlane, vllm_binary: Path, tmp_path: Path, say: Say
) -> None:
    containers = VllmContainers(vllm_binary, make_model(vllm_binary, tmp_path))
    settings = Settings(_env_file=None, researchers=frozenset({"ada"})).model_copy(
        update={**WINDOW, "sweep_interval": timedelta(seconds=0.5)}
    )
    chat = Chat()
    async with real_world(control_plane, tmp_path, containers.launch, containers.url) as world:
        containers.api = world.admin
        async with asyncio.timeout(WHOLE_STORY), at_work(settings, world.cluster, chat) as built:
            await story(built, world.cluster, chat, say)


async def story(built: App, cluster: KubernetesCluster, chat: Chat, say: Say) -> None:
    """As its owner lives it."""

    def phase() -> Phase | None:
        return next((workload.phase for workload in cluster.workloads()), None)

    def said(words: str) -> bool:
        return any(words in say(history[-1].text) for history in chat.messages.values() if history[-1].text)

    await type_(built, chat, "deploy tinyllama")
    await eventually(lambda: phase() is Phase.READY, START_SECONDS)
    await type_(built, chat, "ask tinyllama max-tokens=4 hello")
    until = monotonic() + 15  # an answer that flows for longer than the window
    while monotonic() < until:
        await type_(built, chat, "ask tinyllama max-tokens=300 temp=0 go on")
        assert phase() is Phase.READY
    [why] = await type_(built, chat, "why tinyllama")
    assert say(why.lines[0]).startswith("Not idle yet")
    await eventually(lambda: said("has been idle for"))
    await eventually(lambda: phase() is Phase.ASLEEP)
    await eventually(lambda: said("tinyllama sleeps and gives its GPU back."))
    answers = await type_(built, chat, "ask tinyllama max-tokens=4 are you awake?")
    footnote = answers[-1].footnote
    assert footnote and "tokens/s" in say(footnote) and phase() is Phase.READY
    assert any(reply.lines for reply in answers)  # while it woke, the message told how far it was


async def type_(built: App, chat: Chat, line: str) -> list[Reply]:
    """A line of ada's, and every reply."""
    replies = built.dispatcher.handle(Message(line, User("ada", "ada"), THREAD))
    sent: str | None = None
    seen: list[Reply] = []
    try:
        reply = await anext(replies)
        while True:
            seen.append(reply)
            if sent is None:
                sent = await chat.post(THREAD, reply)
            else:
                await chat.edit(THREAD, sent, reply)
            reply = await replies.asend(sent)
    except StopAsyncIteration:
        return seen
