"""A conversation in Slack on real parts: Bolt and its sockets, API server and scheduler, a real vLLM."""

import asyncio
import os
import sys
from pathlib import Path

from tests.conftest import eventually
from tests.fakes.slack import APP_TOKEN, BOT, BOT_TOKEN, FakeSlack, labels, words
from tests.real.vllm import VllmContainers, make_model
from tests.real.world import real_world

ROOT = Path(__file__).parents[2]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


async def test_deploy_by_form_ask_follow_up_stop_the_answer_keep_stop(control_plane, vllm_binary, tmp_path):
    containers = VllmContainers(vllm_binary, make_model(vllm_binary, tmp_path))
    slack = FakeSlack()
    url = await slack.start()
    slack.channel("C1")
    slack.person("UADA")
    async with real_world(control_plane, tmp_path, containers.launch, containers.url) as world:
        containers.api = world.admin
        env = {name: value for name, value in os.environ.items() if name not in PROXIES} | {
            "KUBECONFIG": str(world.kubeconfig),
            "NAMESPACE": world.namespace,
            "INFERENCE_URL_TEMPLATE": containers.url,
            "SLACK_BOT_TOKEN": BOT_TOKEN,
            "SLACK_APP_TOKEN": APP_TOKEN,
            "SLACK_API_URL": url,
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": "0",
        }
        bot = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bot", "run"), cwd=ROOT, env=env, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(240):
                await slack.connected(2)
                await conversation(slack)
        finally:
            bot.terminate()
            _, said = await bot.communicate()
            print(said.decode(), *map(words, slack.messages.values()), sep="\n")  # shown if it failed
            await slack.stop()
        assert bot.returncode == 0, said.decode()
        assert slack.invalid == [] and "Traceback" not in said.decode()
        assert "what is a node" not in said.decode()  # what people ask is not logged


async def conversation(slack: FakeSlack) -> None:
    """As somebody would have it."""
    await slack.command("UADA", "deploy")
    await eventually(lambda: slack.views)
    [view] = slack.views.values()
    await slack.fill("UADA", view, model="tinyllama", ttl="1h")
    await slack.submit("UADA", view)
    await eventually(lambda: slack.posted("C1"))
    [card] = slack.posted("C1")
    await eventually(lambda: "tinyllama is ready" in words(card), 120)
    assert any("waiting" in text or "pulling" in text or "starting" in text for _, text in card["history"])

    asked = await slack.say("UADA", f"<@{BOT}> ask max-tokens=12 what is a node?")
    assert "tinyllama · 12 tokens" in words(await whole(slack, asked, 1))
    await slack.say("UADA", "ask max-tokens=8 and then?", thread=asked)
    assert "tinyllama · 8 tokens" in words(await whole(slack, asked, 3))

    await slack.say("UADA", "ask max-tokens=1500 temp=0 tell me everything", thread=asked)
    await eventually(lambda: labels(slack.posted("C1", asked)[-1]) == ["Stop"])
    answer = slack.posted("C1", asked)[-1]
    await slack.click("UADA", {**answer, "thread_ts": asked}, "Stop")
    await eventually(lambda: "stopped here" in words(answer))

    await keep_and_stop(slack, card)


async def keep_and_stop(slack: FakeSlack, card: dict) -> None:
    """By the buttons of the card."""
    await slack.click("UADA", card, "Keep 4 h")
    await eventually(lambda: any("is kept until" in words(whisper) for whisper in slack.whispers))
    await eventually(lambda: "in 4 h" in words(card))
    await slack.click("UADA", card, "Stop")
    await eventually(lambda: "The model stays in the cache." in words(card) or "is stopped" in words(card))
    await slack.command("UADA", "status")
    await eventually(lambda: "Nothing is deployed." in words(slack.posted("C1")[-1]))


async def whole(slack: FakeSlack, thread: str, messages: int) -> dict:
    """The last message of the thread, once it is a whole answer."""
    await eventually(lambda: len(slack.posted("C1", thread)) == messages)
    answer = slack.posted("C1", thread)[-1]
    await eventually(lambda: "tokens/s" in words(answer))
    return answer
