"""A conversation in Slack on real parts: Bolt and its sockets, API server and scheduler, a real vLLM."""

from pathlib import Path
from typing import Any

from tests.conftest import eventually
from tests.e2e.service import service
from tests.fakes.slack import APP_TOKEN, BOT, BOT_TOKEN, FakeSlack, labels, words
from tests.real.control_plane import ControlPlane
from tests.real.vllm import START_SECONDS


async def test_deploy_by_form_ask_follow_up_stop_the_answer_keep_stop(
    control_plane: ControlPlane, vllm_binary: Path, tmp_path: Path
) -> None:
    slack = FakeSlack()
    url = await slack.start()
    slack.channel("C1")
    slack.person("UADA")
    tokens = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_API_URL": url}

    def seen() -> list[str]:
        return [words(message) for message in slack.messages.values()]

    try:
        async with service(control_plane, vllm_binary, tmp_path, tokens, seen):
            await slack.connected(2)
            await conversation(slack)
    finally:
        await slack.stop()
    assert slack.invalid == []


async def conversation(slack: FakeSlack) -> None:
    """As somebody would have it."""
    await slack.command("UADA", "deploy")
    await eventually(lambda: slack.views)
    [view] = slack.views.values()
    await slack.fill("UADA", view, model="tinyllama", ttl="1h")
    await slack.submit("UADA", view)
    await eventually(lambda: slack.posted("C1"))
    [card] = slack.posted("C1")
    await eventually(lambda: "tinyllama is ready" in words(card), START_SECONDS)
    assert any("waiting" in text or "pulling" in text or "starting" in text for _, text in card["history"])

    asked = await slack.say("UADA", f"<@{BOT}> ask max-tokens=12 what is a node?")
    assert "tinyllama · 12 tokens" in words(await whole(slack, asked, 1))
    await slack.say("UADA", "ask max-tokens=8 and then?", thread=asked)
    assert "tinyllama · 8 tokens" in words(await whole(slack, asked, 3))

    await slack.say("UADA", "ask max-tokens=1500 tell me everything", thread=asked)
    await eventually(lambda: labels(slack.posted("C1", asked)[-1]) == ["Stop"])
    answer = slack.posted("C1", asked)[-1]
    await slack.click("UADA", {**answer, "thread_ts": asked}, "Stop")
    await eventually(lambda: "stopped here" in words(answer))

    await keep_and_stop(slack, card)


async def keep_and_stop(slack: FakeSlack, card: dict[str, Any]) -> None:
    """By the buttons of the card."""
    await slack.click("UADA", card, "Keep 4 h")
    await eventually(lambda: any("is kept awake until" in words(whisper) for whisper in slack.whispers))
    await eventually(lambda: "in 4 h" in words(card))
    await slack.click("UADA", card, "Stop")
    await eventually(lambda: "The model stays in the cache." in words(card) or "is stopped" in words(card))
    await slack.command("UADA", "status")
    await eventually(lambda: "Nothing is deployed." in words(slack.posted("C1")[-1]))


async def whole(slack: FakeSlack, thread: str, messages: int) -> dict[str, Any]:
    """The last message of the thread, once it is a whole answer."""
    await eventually(lambda: len(slack.posted("C1", thread)) == messages)
    answer = slack.posted("C1", thread)[-1]
    await eventually(lambda: "tokens/s" in words(answer))
    return answer
