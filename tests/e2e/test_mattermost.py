"""The same conversation in Mattermost on real parts: API server and scheduler, and a real vLLM."""

from pathlib import Path
from typing import Any

from tests.conftest import eventually
from tests.e2e.service import service
from tests.fakes.mattermost import COMMAND_TOKEN, TOKEN, FakeMattermost
from tests.real.control_plane import ControlPlane
from tests.real.vllm import START_SECONDS


async def test_deploy_by_form_ask_follow_up_stop_the_answer_keep_stop(
    control_plane: ControlPlane, vllm_binary: Path, tmp_path: Path, unused_tcp_port: int
) -> None:
    chat = FakeMattermost()
    chat.bot_url = f"http://127.0.0.1:{unused_tcp_port}"
    settings = {
        "MATTERMOST_URL": await chat.start(),
        "MATTERMOST_TOKEN": TOKEN,
        "MATTERMOST_COMMAND_TOKENS": f"t1={COMMAND_TOKEN}",
        "MATTERMOST_CALLBACK_URL": chat.bot_url,
        "HTTP_PORT": str(unused_tcp_port),
    }

    def seen() -> list[str]:
        return [post["message"] for post in chat.posts.values()]

    try:
        async with service(control_plane, vllm_binary, tmp_path, settings, seen):
            await eventually(lambda: chat.sockets)
            await conversation(chat, chat.person("ada"))
    finally:
        await chat.stop()


async def conversation(chat: FakeMattermost, ada: str) -> None:
    """As somebody would have it."""
    chat.channel("c1", members=[ada])
    await chat.command(ada, "deploy")
    [form] = chat.dialogs
    assert await chat.submit(ada, form, model="tinyllama", ttl="1h") == (200, {})
    await eventually(lambda: chat.posted("c1"))
    [card] = chat.posted("c1")
    await eventually(lambda: "tinyllama is ready" in card["message"], START_SECONDS)
    assert any("waiting" in text or "pulling" in text or "starting" in text for text in card["history"])

    asked = chat.say(ada, "@llm ask max-tokens=12 what is a node?")
    assert "tinyllama · 12 tokens" in (await whole(chat, asked, 1))["message"]
    chat.say(ada, "ask max-tokens=8 and then?", thread=asked)
    assert "tinyllama · 8 tokens" in (await whole(chat, asked, 2))["message"]

    chat.say(ada, "ask max-tokens=1500 tell me everything", thread=asked)
    await eventually(lambda: len(chat.posted("c1", asked)) == 3)  # one that can be stopped
    answer = chat.posted("c1", asked)[-1]
    await chat.click(ada, answer, "Stop")
    await eventually(lambda: "stopped here" in answer["message"])

    await keep_and_stop(chat, ada, card)


async def keep_and_stop(chat: FakeMattermost, ada: str, card: dict[str, Any]) -> None:
    """By the buttons of the card."""
    await chat.click(ada, card, "Keep 4 h")
    assert "is kept awake until" in chat.whispers[-1][1]["text"]
    await eventually(lambda: "in 4 h" in card["message"])
    await chat.click(ada, card, "Stop")
    await chat.submit(ada, chat.dialogs[-1])
    await eventually(lambda: any("is stopped" in text for text in [card["message"], *card["history"]]))
    await chat.command(ada, "status")
    await eventually(lambda: "Nothing is deployed." in chat.posted("c1")[-1]["message"])


async def whole(chat: FakeMattermost, thread: str, posts: int) -> dict[str, Any]:
    """The last post of the thread, once it is a whole answer."""
    await eventually(lambda: len(chat.posted("c1", thread)) == posts)
    answer = chat.posted("c1", thread)[-1]
    await eventually(lambda: "tokens/s" in answer["message"])
    return answer
