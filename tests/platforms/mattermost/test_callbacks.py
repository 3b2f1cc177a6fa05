"""Slash commands, buttons and dialogs of Mattermost, and those who forge them."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from bot.platforms.mattermost.buttons import CLICK
from bot.platforms.mattermost.signing import Signer
from bot.platforms.shared.inbound import OF_A_PERSON
from bot.simulator.server import SimulatedServer
from tests.conftest import PassTime
from tests.fakes.mattermost import COMMAND_TOKEN, TOKEN, FakeMattermost
from tests.platforms.mattermost.conftest import Bot, attachments, soon, who


@pytest.fixture
def bot(called_bot: Bot) -> Bot:
    return called_bot


async def card_of(
    chat: FakeMattermost, pass_time: PassTime, line: str = "deploy tinyllama", name: str = "ada"
) -> dict[str, Any]:
    await chat.command(who(chat, name), line)
    await soon(lambda: chat.posted("c1"))
    await pass_time(200)
    await soon(lambda: "is ready" in chat.posted("c1")[-1]["message"])
    return chat.posted("c1")[-1]


def labels(post: dict[str, Any]) -> list[str]:
    return [action["name"] for attachment in attachments(post) for action in attachment["actions"]]


async def test_a_command_deploys_and_its_buttons_keep_and_stop(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    card = await card_of(chat, pass_time)
    ada = who(chat, "ada")
    assert (
        chat.whispers == [(ada, chat.whispers[0][1])]
        and "`/llm deploy tinyllama`" in chat.whispers[0][1]["text"]
    )
    assert labels(card) == ["Ask", "Open WebUI", "Logs", "Keep 4 h", "Sleep", "Stop"]
    await chat.click(ada, card, "Keep 4 h")
    assert "tinyllama is kept awake until" in chat.whispers[-1][1]["text"]
    await chat.click(ada, card, "Stop")
    [dialog] = chat.dialogs
    assert dialog["introduction_text"].startswith("Stop tinyllama?") and bot.cluster.workloads()
    assert await chat.submit(ada, dialog) == (200, {})
    await soon(lambda: bot.cluster.workloads() == [])
    await soon(lambda: "stopped" in card["message"] and labels(card) == [])
    assert len(chat.posted("c1")) == 1


async def test_a_command_is_acknowledged_at_once_and_heard_once(bot: Bot, chat: FakeMattermost) -> None:
    chat.faults["POST /posts"] = [5.0]
    begun = time.monotonic()
    await chat.command(who(chat, "eve"), "gpus", trigger_id="same")
    assert time.monotonic() - begun < 1  # the server is slow, not we
    await chat.command(who(chat, "eve"), "gpus", trigger_id="same")
    await soon(lambda: chat.posted("c1"))
    assert len(chat.posted("c1")) == 1


async def test_a_slip_is_told_to_the_person_alone_and_its_button_mends_it(
    bot: Bot, chat: FakeMattermost
) -> None:
    bob = who(chat, "bob")
    await chat.command(bob, "depoly tinyllama")
    told = chat.whispers[-1][1]
    assert "gibt es nicht" in told["text"] and not chat.posted("c1")
    await chat.click(bob, told, labels(told)[0])
    await soon(lambda: [workload.name for workload in bot.cluster.workloads()] == ["tinyllama"])


async def test_a_form_deploys_and_a_refusal_keeps_it_open(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    ada = who(chat, "ada")
    await chat.command(ada, "")
    [dialog] = chat.dialogs
    assert dialog["title"] == "Deploy a model"
    status, told = await chat.submit(ada, dialog, model="llama-3-8b", tp="1")
    assert status == 200 and "does not fit on one V100" in told["error"] and "tp=2" in told["error"]
    status, told = await chat.submit(ada, dialog, model="llama-3-8b", ttl="soon")
    assert "ttl takes a duration" in told["error"]
    strange = {"image": "smuggled", "model": "tinyllama", "tp": {"not": "text"}}
    assert await chat.submit(ada, dialog, **strange) == (200, {})
    await soon(lambda: [workload.name for workload in bot.cluster.workloads()] == ["tinyllama"])
    assert await chat.submit(ada, dialog, model="qwen3-0.6b") == (200, {})  # sent again
    assert len(bot.cluster.workloads()) == 1


async def test_a_form_is_a_button_where_nothing_opens_one(bot: Bot, chat: FakeMattermost) -> None:
    asked = chat.say(who(chat, "ada"), "@llm deploy")
    direct = f"d{who(chat, 'ada')}"[:26]
    await soon(lambda: chat.posted(direct))
    [post] = chat.posted(direct)
    await chat.click(who(chat, "ada"), post, "Fill in a form")
    await soon(lambda: chat.dialogs)
    assert not chat.posted("c1", asked)


async def test_stop_ends_an_answer_for_who_asked(
    bot: Bot, chat: FakeMattermost, server: SimulatedServer, pass_time: PassTime
) -> None:
    await card_of(chat, pass_time)
    server.misbehave["tinyllama"] = "silent"
    asked = chat.say(who(chat, "eve"), "@llm tell me everything")
    await soon(lambda: chat.posted("c1", asked))
    [answer] = chat.posted("c1", asked)
    assert labels(answer) == ["Stop"]
    await chat.click(who(chat, "bob"), answer, "Stop")
    assert "Nur wer gefragt hat" in chat.whispers[-1][1]["text"]
    await chat.click(who(chat, "eve"), answer, "Stop")
    await soon(lambda: "stopped here" in answer["message"])
    assert labels(answer) == [] and bot.app.services.activity.in_flight("tinyllama") == 0


async def test_buttons_outlive_a_restart_and_ask_again_who_may(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    card = await card_of(chat, pass_time)
    await bot.stop()
    assert (await chat.click(who(chat, "ada"), card, "Sleep"))[0] == 503
    await bot.start(chat)
    await chat.click(who(chat, "eve"), card, "Sleep")
    assert "tinyllama belongs to ada" in chat.whispers[-1][1]["text"]
    await chat.click(who(chat, "ada"), card, "Sleep")
    await soon(lambda: bot.cluster.workloads()[0].replicas == 0)


async def test_where_the_bot_is_no_member_it_answers_in_the_direct_messages(
    bot: Bot, chat: FakeMattermost
) -> None:
    eve = who(chat, "eve")
    chat.channel("elsewhere", members=[eve], bot=False)
    await chat.command(eve, "gpus", "elsewhere")
    await soon(lambda: chat.posted(f"d{eve}"[:26]))
    assert "not a member" in chat.whispers[-1][1]["text"]
    assert "GPUs are free" in chat.posted(f"d{eve}"[:26])[0]["message"]


async def test_a_late_word_comes_by_the_address_of_the_command_else_directly(
    bot: Bot, chat: FakeMattermost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.platforms.mattermost.callbacks.COMMAND_REPLY_SECONDS", 0.0)
    eve = who(chat, "eve")
    await chat.command(eve, "depoly")
    await soon(lambda: len(chat.whispers) == 2)
    assert "There is no" in chat.whispers[-1][1]["text"]
    bob = who(chat, "bob")
    await chat.command(bob, "depoly", response_url="https://outside/hooks/commands/gone")
    await soon(lambda: chat.posted(f"d{bob}"[:26]))


FORGED_TOKENS = [{"token": "guessed"}, {"team_id": "t2"}, {"token": ""}, {"header": "guessed"}]
FORGED_TOKENS += [{"token": "guessed", "header": COMMAND_TOKEN}]


@pytest.mark.parametrize("forged", FORGED_TOKENS, ids=str)
async def test_a_command_that_mattermost_did_not_send_does_nothing(
    bot: Bot, chat: FakeMattermost, forged: dict[str, str]
) -> None:
    status, answer = await chat.command(who(chat, "grace"), "deploy tinyllama", **forged)
    assert (status, answer) == (401, {})
    assert bot.cluster.workloads() == []


Forgery = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Changes the context of a button; what it returns is where the click says that it was."""


async def forge(chat: FakeMattermost, card: dict[str, Any], change: Forgery) -> tuple[int, dict[str, Any]]:
    """An admin's click on a button that somebody else made."""
    [context] = [
        action["integration"]["context"]
        for action in card["props"]["attachments"][0]["actions"]
        if action["name"] == "Sleep"
    ]
    context = dict(context)
    where = change(context) or {}
    return await chat.click(who(chat, "grace"), card, "Sleep", context=context, **where)


def other_content(context: dict[str, Any]) -> None:
    """What a guessed key signs, with the signature of the real button."""
    values = {
        "line": "stop tinyllama",
        "about": "",
        "label": "",
        "confirm": "",
        "channel": "c1",
        "thread": "",
    }
    content, _, _ = Signer("guessed").sign(CLICK, **values).rsplit(".", 2)
    _, stamp, signature = context["signed"].rsplit(".", 2)
    context["signed"] = f"{content}.{stamp}.{signature}"


def later_time(context: dict[str, Any]) -> None:
    """The button as if it had been signed just now."""
    content, _, signature = context["signed"].rsplit(".", 2)
    _, stamp, _ = Signer("guessed").sign(CLICK).rsplit(".", 2)
    context["signed"] = f"{content}.{stamp[::-1]}.{signature}"


FORGERIES: dict[str, Forgery] = {
    "another line": other_content,
    "another time": later_time,
    "another purpose": lambda context: context.update(purpose="stop"),
    "another key": lambda context: context.update(signed=Signer("guessed").sign(CLICK, channel="c1")),
    "no signature": lambda context: context.pop("signed") and None,
    "another channel": lambda context: {"channel_id": "c2"},
    "nothing": lambda context: context.clear(),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_click_does_nothing(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime, name: str
) -> None:
    card = await card_of(chat, pass_time)
    assert await forge(chat, card, FORGERIES[name]) == (403, {})
    assert bot.cluster.workloads()[0].replicas == 1


async def test_a_click_that_is_sent_again_does_nothing(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    card = await card_of(chat, pass_time)
    await chat.click(who(chat, "ada"), card, "Keep 4 h", trigger_id="same")
    before = len(chat.whispers)
    assert await chat.click(who(chat, "ada"), card, "Keep 4 h", trigger_id="same") == (200, {})
    assert len(chat.whispers) == before


OLD_BUTTONS = {
    "a month ago": {
        "purpose": "click",
        "signed": Signer(TOKEN, lambda: time.time() - 31 * 86_400).sign(CLICK, line="sleep tinyllama"),
    },
    "by an older version": {"line": "sleep tinyllama", "ends": "1", "nonce": "1", "mac": "0f"},
}


@pytest.mark.parametrize("context", OLD_BUTTONS.values(), ids=OLD_BUTTONS)
async def test_an_old_button_says_so(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime, context: dict[str, str]
) -> None:
    card = await card_of(chat, pass_time)
    await chat.click(who(chat, "ada"), card, "Sleep", context=context)
    assert "too old" in chat.whispers[-1][1]["text"] and bot.cluster.workloads()[0].replicas == 1


async def test_a_dialog_of_another_person_or_of_our_buttons_does_nothing(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    card = await card_of(chat, pass_time)
    await chat.click(who(chat, "ada"), card, "Stop")
    [dialog] = chat.dialogs
    assert (await chat.submit(who(chat, "grace"), dialog))[0] == 403
    context = card["props"]["attachments"][0]["actions"][0]["integration"]["context"]
    for state in (json.dumps(context), "nonsense", "[]", "null", "{}"):
        assert (await chat.submit(who(chat, "ada"), dialog, state=state))[0] == 403
    assert len(bot.cluster.workloads()) == 1


async def test_nonsense_is_no_call(bot: Bot, chat: FakeMattermost) -> None:
    json_type = {"Content-Type": "application/json"}
    nonsense: list[dict[str, Any]] = [
        {"data": b"{", "headers": json_type},
        {"json": []},
        {"json": {"context": {}}},
    ]
    for what in ("action", "dialog"):
        assert [(await chat.call(what, **sent))[0] for sent in nonsense] == [403, 403, 403]
        assert (await chat.call(what, data={"a": "b"}))[0] == 415
    assert (await chat.call("command", json={}))[0] == 415
    assert (await chat.call("command", data={"token": "x"}))[0] == 400


async def test_a_guest_learns_nothing_by_a_click(bot: Bot, chat: FakeMattermost, pass_time: PassTime) -> None:
    card = await card_of(chat, pass_time)
    mallory = chat.person("mallory", roles="system_guest")
    await chat.click(mallory, card, "Logs")
    assert chat.whispers[-1] == (mallory, chat.whispers[-1][1])
    assert "for members of this server" in chat.whispers[-1][1]["text"]


async def test_as_many_clicks_at_once_as_a_person_may_have_are_all_answered(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    card = await card_of(chat, pass_time)
    ada = who(chat, "ada")
    answers = await asyncio.gather(*(chat.click(ada, card, "Keep 4 h") for _ in range(OF_A_PERSON)))
    assert all("is kept awake until" in answer["ephemeral_text"] for _, answer in answers)


async def test_who_waits_for_a_sleeping_model_can_give_up(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    card = await card_of(chat, pass_time)
    await chat.click(who(chat, "ada"), card, "Sleep")
    await soon(lambda: bot.cluster.workloads()[0].replicas == 0)
    asked = chat.say(who(chat, "eve"), "@llm ask tinyllama are you awake?")
    await soon(lambda: bot.cluster.workloads()[0].replicas == 1)
    await pass_time(2)
    await soon(lambda: chat.posted("c1", asked))
    [waiting] = chat.posted("c1", asked)
    assert labels(waiting) == ["Stop"]
    await chat.click(who(chat, "eve"), waiting, "Stop")
    await soon(lambda: "stopped here" in waiting["message"])
    await pass_time(200)
    assert len(chat.posted("c1", asked)) == 1 and labels(waiting) == []
    assert bot.cluster.workloads()[0].replicas == 1  # it wakes all the same
