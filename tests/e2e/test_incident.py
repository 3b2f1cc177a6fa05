"""Failures on real parts, from the cause to the end: a real vLLM whose KV cache is too small, and others."""

import asyncio
import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from bot.app.application import App
from bot.app.settings import Settings
from bot.cluster.adapter import KubernetesCluster
from bot.core.chat.errors import UserError
from bot.core.chat.message import Turn
from bot.core.chat.reply import Reply
from bot.core.deployment.workload import Phase
from bot.core.failures.diagnosis import diagnose
from bot.core.ports import Endpoint, Sampling
from bot.engines.vllm.inference import VllmInference
from tests.conftest import Chat, Say, eventually, text_of
from tests.e2e.test_idle import type_
from tests.real.control_plane import ControlPlane
from tests.real.vllm import START_SECONDS, Ended, VllmContainers, make_model
from tests.real.world import at_work, real_world

TOLD_SECONDS = 40
"""From its end to what people read; 10 on an idle machine."""
ROOM = 1024 * 1024
"""Bytes for 1,024 tokens of the tiny model."""


async def test_a_context_that_does_not_fit_is_told_mended_and_resolved(
    control_plane: ControlPlane, vllm_binary: Path, tmp_path: Path, say: Say
) -> None:
    containers = VllmContainers(vllm_binary, make_model(vllm_binary, tmp_path))
    containers.more = ["--kv-cache-memory-bytes", str(ROOM)]
    settings = Settings(
        _env_file=None,
        admins=frozenset({"ada"}),
        admin_channel="console:admins",
        database_url=f"sqlite:///{tmp_path}/ledger.sqlite",
    ).model_copy(update={"sweep_interval": timedelta(seconds=0.5)})
    chat = Chat()
    async with real_world(control_plane, tmp_path, containers.launch, containers.url) as world:
        containers.api = world.admin
        async with asyncio.timeout(900), at_work(settings, world.cluster, chat) as built:
            await story(built, world.cluster, chat, say)


async def story(built: App, cluster: KubernetesCluster, chat: Chat, say: Say) -> None:
    """As its owner and an admin see it."""

    def shown(words: str) -> list[list[Reply]]:
        return [h for h in chat.messages.values() if h[-1].text and words in say(h[-1].text)]

    await type_(built, chat, "deploy tinyllama")
    await eventually(lambda: [w.phase for w in cluster.workloads()] == [Phase.FAILED], START_SECONDS)
    begun = asyncio.get_running_loop().time()
    await eventually(lambda: shown("tinyllama did not start: no room for a single request"))
    await eventually(lambda: shown("#1 tinyllama (ada) is not running: no room for a single request"))
    assert asyncio.get_running_loop().time() - begun < TOLD_SECONDS
    [card], [alert] = shown("did not start"), shown("#1 tinyllama")
    assert [b.command for b in card[-1].buttons if b.command.startswith("scale")]
    [fix] = [b.command for b in alert[-1].buttons if "max-len" in b.command]
    assert fix == "scale tinyllama max-len=768" and "context_too_long" in say(text_of(alert[-1]))
    await type_(built, chat, fix)
    await eventually(lambda: shown("tinyllama is ready"), START_SECONDS)
    await eventually(lambda: shown("#1 tinyllama") and "resolved" in say(text_of(alert[-1])))
    assert len(shown("#1 tinyllama")) == 1 and len(shown("tinyllama is ready")) == 1
    [*_, told] = await type_(built, chat, "report")
    assert (
        told.picture
        and told.picture.png.startswith(b"\x89PNG")
        and "1 × context_too_long" in say(told.lines[-1])
    )


FAILURES = {
    "model_not_found": ["/nowhere/at/all"],
    "tp_not_divisible": ["--tensor-parallel-size", "3"],
    "unsupported_architecture": ["STRANGE"],
    "bad_argument": ["--no-such-flag"],
    "no_kv_cache_memory": ["--kv-cache-memory-bytes", "1K"],
    "port_in_use": ["PORT"],
}


@pytest.mark.parametrize("cause", FAILURES)
async def test_a_start_that_fails_is_named(vllm_binary: Path, tmp_path: Path, cause: str) -> None:
    model = make_model(vllm_binary, tmp_path)
    containers = VllmContainers(vllm_binary, model)
    wrong, taken = FAILURES[cause], None
    log: list[str] = []
    if wrong == ["STRANGE"]:
        config = model / "config.json"
        config.write_text(config.read_text().replace("LlamaForCausalLM", "NoSuchForCausalLM"))
    elif wrong == ["PORT"]:
        taken = socket.create_server(("127.0.0.1", containers.port))
    elif wrong[0].startswith("/"):
        containers.model = wrong[0]
    else:
        containers.more = wrong
    try:
        with pytest.raises(Ended):
            await containers.serve("tiny", "2048", "key", log.append)
    finally:
        if taken:
            taken.close()
    assert diagnose(["\n".join(log)]).cause == cause


async def test_an_engine_that_dies_and_a_model_that_cannot_chat_are_told_to_who_asks(
    vllm_binary: Path, tmp_path: Path
) -> None:
    model = make_model(vllm_binary, tmp_path)
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        if (model / file).exists():
            text = (model / file).read_text()
            (model / file).write_text("" if file.endswith("jinja") else text.replace("chat_template", "none"))
    (model / "chat_template.jinja").unlink(missing_ok=True)
    containers = VllmContainers(vllm_binary, model)
    log: list[str] = []
    end = await containers.serve("tiny", "2048", "key", log.append)
    inference = VllmInference(240, 60)
    endpoint = Endpoint(containers.url, "tiny", "key")

    async def ask() -> None:
        async for _ in inference.answer(endpoint, [Turn("user", "hello")], Sampling(max_tokens=4)):
            pass

    try:
        with pytest.raises(UserError) as told:
            await ask()
        assert told.value.text.key == "ask.no_chat_template"
        os.killpg(containers.process.pid, 9)
        with pytest.raises(UserError) as told:
            await ask()
        assert told.value.text.key in ("ask.engine_died", "ask.unreachable", "ask.server_error")
    finally:
        await inference.close()
        await end()
