"""The whole story in pods, on real nodes: the bot under its own ServiceAccount, engines that are a real vLLM,
people in a chat and at `kubectl exec`."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import eventually
from tests.fakes.mattermost import COMMAND_TOKEN, TOKEN, FakeMattermost
from tests.real.cluster import RealCluster
from tests.real.vllm import START_SECONDS

WINDOW = 60
"""Seconds without use after which a model sleeps here; a setting may not be shorter than ten minutes."""
BOT = f"""
import os, sys
from datetime import timedelta
from bot.app import setting_types
setting_types.SHORTEST_WINDOW = timedelta(seconds=1)
os.environ.update(IDLE_WINDOW="{WINDOW}s", IDLE_WARNING="20s")
from bot.__main__ import main
sys.exit(main(["run"]))
"""
"""`python -m bot run` with a window that a test can wait for."""
WHOLE_STORY = 1200
"""Seconds; an idle machine needs 240."""


async def test_deploy_ask_sleep_by_the_timer_wake_by_a_question_stop(real_cluster: RealCluster) -> None:
    chat = FakeMattermost()
    url = await chat.start(host=real_cluster.machine)
    try:
        with real_cluster.namespace("story") as namespace:
            container = {"name": "llm-bot", "command": ["python", "-c", BOT], "args": []}
            real_cluster.mutate(namespace, "llm-bot", {"spec": {"containers": [container]}})
            try:
                async with asyncio.timeout(WHOLE_STORY):
                    await install(real_cluster, namespace, url, chat)
                    await looks_like_a_pod_of_its_own(real_cluster, namespace)
                    await story(real_cluster, namespace, chat)
            finally:
                print(real_cluster.kubectl("logs", "deployment/llm-bot", f"--namespace={namespace}"))
                print(*(f"{post['message']}\n" for post in chat.posts.values()))
    finally:
        await chat.stop()


async def install(cluster: RealCluster, namespace: str, url: str, chat: FakeMattermost) -> None:
    """As docs/operate.md says, with a chat, and under the strictest policies: docs/network.md."""
    cluster.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=json.dumps(way_to_the_chat(url)))
    settings = {
        "MATTERMOST_URL": url,
        "MATTERMOST_TOKEN": TOKEN,
        "MATTERMOST_COMMAND_TOKENS": f"t1={COMMAND_TOKEN}",
        "MATTERMOST_CALLBACK_URL": f"http://llm-bot.{namespace}.svc:8080",
        "SWEEP_INTERVAL": "5s",
    }
    await asyncio.to_thread(cluster.install_bot, namespace, settings, egress=True)
    await eventually(lambda: chat.sockets)


def way_to_the_chat(url: str) -> dict[str, Any]:
    """It is on a port of its own, which takes one policy more."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "llm-bot-chat"},
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "llm-bot"}},
            "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": urlsplit(url).port}]}],
        },
    }


async def looks_like_a_pod_of_its_own(cluster: RealCluster, namespace: str) -> None:
    """It holds the Lease, is nobody special and cannot write to its image."""
    [pod] = cluster.pods(namespace, "app.kubernetes.io/name=llm-bot")
    assert pod["spec"]["serviceAccountName"] == "llm-bot"
    lease = cluster.get(namespace, "lease", "llm-bot")
    assert lease["spec"]["holderIdentity"].startswith(pod["metadata"]["name"])

    def inside(*command: str) -> str:
        words = ("exec", "deployment/llm-bot", f"--namespace={namespace}", "--", *command)
        return cluster.kubectl(*words, check=False, seconds=60)

    assert (await asyncio.to_thread(inside, "id", "-u")).strip() == "10001"
    assert "Read-only file system" in await asyncio.to_thread(inside, "touch", "/app/written")
    doctor = await asyncio.to_thread(inside, "python", "-m", "bot", "doctor")
    assert "fail" not in doctor, doctor


async def story(cluster: RealCluster, namespace: str, chat: FakeMattermost) -> None:
    """As its owner lives it."""
    ada = chat.person("ada")
    chat.channel("c1", members=[ada])
    asked = chat.say(ada, "@llm deploy tinyllama")
    await eventually(lambda: chat.posted("c1", asked))
    card = chat.posted("c1", asked)[0]
    await eventually(lambda: "tinyllama is ready" in card["message"], START_SECONDS)
    assert "tinyllama · 12 tokens" in await answered(chat, ada, "ask tinyllama max-tokens=12 hello")
    await at_the_terminal(cluster, namespace, chat)

    def said(words: str) -> bool:
        return any(words in post["message"] for post in chat.posts.values())

    await eventually(lambda: said("tinyllama has been idle for"))
    await eventually(lambda: said("tinyllama sleeps and gives its GPU back."))
    deployment = cluster.get(namespace, "deployment", "llm-tinyllama")
    assert deployment["spec"]["replicas"] == 0

    assert "tokens/s" in await answered(chat, ada, "ask tinyllama max-tokens=8 are you awake?")
    assert "tinyllama is stopped" in await answered(chat, ada, "stop tinyllama --sure", "is stopped")
    found = cluster.kubectl("get", "deployments", f"--namespace={namespace}", "--output=name")
    assert found.split() == ["deployment.apps/llm-bot"]


async def at_the_terminal(cluster: RealCluster, namespace: str, chat: FakeMattermost) -> None:
    """A guest beside the bot: it answers there and nowhere else."""
    before = {name: post["message"] for name, post in chat.posts.items()}
    lines = ("status", "ask tinyllama max-tokens=8 hello")
    told = await asyncio.to_thread(cluster.console, namespace, *lines)
    assert told.startswith("llm-bot is at work here already (llm-bot-")
    assert "● tinyllama   ready" in told and "tinyllama · 8 tokens" in told
    assert before.keys() == chat.posts.keys()


async def answered(chat: FakeMattermost, who: str, line: str, end: str = "tokens/s") -> str:
    """The one answer to a line, once it is whole."""
    asked = chat.say(who, f"@llm {line}")
    answers: list[dict[str, Any]] = []

    def whole() -> bool:
        answers[:] = chat.posted("c1", asked)
        return any(end in post["message"] for post in answers)

    await eventually(whole, START_SECONDS)
    [answer] = answers
    return str(answer["message"])
