"""Slack on a bad day: nothing is lost, nothing is said twice."""

import asyncio

import pytest

from bot.app import wiring
from bot.core.chat.errors import UserError
from bot.core.chat.message import Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.platforms.slack import answer as answer_module
from bot.platforms.slack.adapter import Slack
from bot.platforms.slack.web import SlackRefused, SlackWeb
from bot.simulator.server import SimulatedServer
from tests.conftest import PATIENCE, PassTime
from tests.fakes.slack import BOT, BOT_TOKEN, TEAM, FakeSlack, words
from tests.platforms.slack.conftest import Bot, deployed, soon

MENTION = {"type": "app_mention", "user": "UEVE", "team": TEAM, "channel": "C1"}


async def test_an_event_that_is_delivered_again_is_answered_once(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    event = {**MENTION, "text": f"<@{BOT}> gpus", "ts": "1.1"}
    await workspace.event(event, "Ev1")
    await soon(lambda: workspace.posted("C1", "1.1"))
    await workspace.event(event, "Ev1")
    await workspace.event({**event, "type": "message", "channel_type": "channel"}, "Ev2")
    await workspace.say("UEVE", f"<@{BOT}> models qwen", thread="1.1")
    await soon(lambda: any("qwen" in words(message) for message in workspace.posted("C1", "1.1")))
    free = [message for message in workspace.posted("C1", "1.1") if "GPUs are free" in words(message)]
    assert len(free) == 1


@pytest.mark.parametrize("trouble", ["refresh", "abort", "deaf"])
async def test_connections_heal_and_what_was_missed_is_answered_once(
    bot: Bot, workspace: FakeSlack, trouble: str
) -> None:
    if trouble == "refresh":
        await workspace.refresh()
    elif trouble == "abort":
        await workspace.abort()
    else:  # a connection that is open and silent: nothing arrives, nothing is answered
        workspace.deaf = True
        await soon(lambda: not bot.slack.ready)
        workspace.deaf = False
        workspace.sockets.clear()
    event = {**MENTION, "text": f"<@{BOT}> gpus", "ts": "1.1"}
    told = asyncio.create_task(workspace.event(event, "Ev1"))
    await workspace.connected(2)
    await soon(lambda: bot.slack.ready)
    await told
    if workspace.unacknowledged:  # all sockets were away: Slack's later repetitions bring it
        await workspace.event(event, "Ev1")
    await soon(lambda: workspace.posted("C1", "1.1"))
    assert await workspace.command("UADA", "gpus")
    await soon(lambda: len(workspace.posted("C1")) == 1)
    assert len(workspace.posted("C1", "1.1")) == 1


async def test_a_refresh_of_both_sockets_under_load_loses_no_command(bot: Bot, workspace: FakeSlack) -> None:
    workspace.tiers = False

    async def commands() -> list[bool]:
        sent = []
        for _ in range(150):
            sent.append(asyncio.create_task(workspace.command("UEVE", "whoami")))
            await asyncio.sleep(0.01)
        return await asyncio.gather(*sent)

    sending, heard = asyncio.create_task(commands()), []
    for _ in range(6):
        await asyncio.sleep(0.2)
        heard += [asyncio.create_task(workspace.command("UEVE", "whoami")) for _ in range(4)]
        await asyncio.sleep(0.003)  # heard, and not acknowledged yet: Bolt looks every 10 ms
        await workspace.refresh()
    assert all(await sending) and all(await asyncio.gather(*heard))
    assert workspace.unacknowledged == [] and workspace.refreshed == 6
    await soon(lambda: len(workspace.whispers) == 174)


async def test_a_rate_limit_is_waited_out(bot: Bot, workspace: FakeSlack) -> None:
    workspace.faults["chat.postMessage"] = [(429, 1), (429, 1)]
    await workspace.command("UEVE", "gpus")
    await soon(lambda: workspace.posted("C1"))
    assert len(workspace.posted("C1")) == 1


@pytest.mark.parametrize("fault", [503, "drop", "lose"])
async def test_a_message_is_posted_exactly_once_whatever_breaks(
    bot: Bot, workspace: FakeSlack, fault: int | str
) -> None:
    workspace.faults["chat.postMessage"] = [fault]
    await workspace.command("UEVE", "gpus")
    await soon(lambda: workspace.posted("C1"))
    await workspace.command("UEVE", "models qwen")
    await soon(lambda: any("qwen" in words(message) for message in workspace.posted("C1")))
    assert len([m for m in workspace.posted("C1") if "GPUs are free" in words(m)]) == 1


async def test_a_form_whose_trigger_came_too_late_is_offered_again(bot: Bot, workspace: FakeSlack) -> None:
    workspace.faults["views.open"] = ["expired_trigger_id"]
    await workspace.command("UADA", "deploy")
    await soon(lambda: workspace.whispers)
    assert "model is missing." in words(workspace.whispers[0]) and not workspace.views
    await workspace.click("UADA", {**workspace.whispers[0], "ts": "9.9", "thread_ts": ""}, "Fill in a form")
    await soon(lambda: workspace.views)


@pytest.mark.parametrize(
    "faults",
    [
        {"chat.startStream": ["missing_scope"]},
        {"chat.startStream": ["drop"]},
        {"chat.appendStream": ["message_not_in_streaming_state"]},
        {"chat.appendStream": ["lose"]},
        {"chat.stopStream": ["fatal_error"]},
        {"chat.update": ["fatal_error"]},
    ],
    ids=str,
)
async def test_the_whole_answer_stands_there_in_the_end_whatever_breaks(
    bot: Bot,
    workspace: FakeSlack,
    server: SimulatedServer,
    pass_time: PassTime,
    faults: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer_module, "FINAL_PAUSES", (0.0, 0.2, 0.2))
    await deployed(workspace, pass_time)
    server.pause = 0.05
    workspace.faults.update(faults)
    asked = await workspace.say("UEVE", f"<@{BOT}> what is PagedAttention?")
    await soon(lambda: any("tokens/s" in words(m) for m in workspace.posted("C1", asked)))
    whole = [m for m in workspace.posted("C1", asked) if "tokens/s" in words(m)]
    assert len(whole) == 1 and "what is PagedAttention?" in words(whole[0])
    assert words(whole[0]).count("I am tinyllama") == 1
    assert all(message.get("streamed", "").count("rather") < 2 for message in workspace.posted("C1", asked))


async def test_an_answer_that_ends_while_its_message_is_begun_is_one_message(
    bot: Bot, workspace: FakeSlack, server: SimulatedServer, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    server.pause = 0.01
    workspace.faults["chat.startStream"] = [2.0]
    asked = await workspace.say("UEVE", f"<@{BOT}> what is PagedAttention?")
    await soon(lambda: any("tokens/s" in words(m) for m in workspace.posted("C1", asked)))
    assert len(workspace.posted("C1", asked)) == 1


async def test_a_stream_that_grows_old_goes_on_in_a_new_message(
    bot: Bot,
    workspace: FakeSlack,
    server: SimulatedServer,
    pass_time: PassTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer_module, "STREAM_SECONDS", 1.0)
    workspace.stream_seconds = 2.5
    await deployed(workspace, pass_time)
    server.pause = 0.06
    asked = await workspace.say("UEVE", f"<@{BOT}> go on and on")
    await soon(lambda: "tokens/s" in "".join(map(words, workspace.posted("C1", asked))))
    pages = workspace.posted("C1", asked)
    assert len(pages) > 1 and not any(page.get("streaming") for page in pages)
    async with asyncio.timeout(PATIENCE):  # the thread is remembered once its last page is written
        while not (turns := await bot.slack.history(Place("slack", "C1", asked))):
            await asyncio.sleep(0.02)
    assert "".join(words(page).split("\ntinyllama · ")[0] for page in pages) == turns[1].content


async def test_a_message_that_somebody_deleted_is_posted_again(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    await workspace.command("UADA", "deploy tinyllama")
    await soon(lambda: workspace.posted("C1"))
    workspace.messages.clear()
    await pass_time(200)
    await soon(lambda: any("is ready" in words(message) for message in workspace.posted("C1")))


async def test_a_dead_model_keeps_the_partial_answer_and_says_why(
    bot: Bot, workspace: FakeSlack, server: SimulatedServer, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    server.misbehave["tinyllama"] = "dies"
    asked = await workspace.say("UEVE", f"<@{BOT}> hello there")
    await soon(lambda: "crashed while answering" in "".join(map(words, workspace.posted("C1", asked))))
    [answer] = workspace.posted("C1", asked)
    assert words(answer).startswith("I am tinyllama, or rather") and "The answer ends here" in words(answer)


async def test_a_restart_in_the_middle_of_an_answer_leaves_what_was_said(
    bot: Bot, workspace: FakeSlack, server: SimulatedServer, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    server.misbehave["tinyllama"] = "silent"
    asked = await workspace.say("UEVE", f"<@{BOT}> hello there")
    await soon(lambda: workspace.posted("C1", asked))
    [answer] = workspace.posted("C1", asked)
    await soon(lambda: "I am tinyllama" in answer["text"])
    await bot.restart()
    assert words(answer).startswith("I am") and "stopped here" in words(answer)


async def test_a_wrong_token_is_said_and_ends_the_bot(bot: Bot, workspace: FakeSlack) -> None:
    slack = Slack(
        bot.phrases, "en", "xoxb-wrong", app_token="xapp-fake", url=workspace.url, changes=bot.cluster.changes
    )
    with pytest.raises(UserError) as error:
        await slack.listen(bot.app.dispatcher.handle)
    said = wiring.phrasebook(bot.settings).say(error.value.text, "en")
    assert said == "Slack does not accept SLACK_BOT_TOKEN or SLACK_APP_TOKEN: invalid_auth"
    await slack.close()


async def test_an_edit_that_had_to_wait_does_not_overwrite_the_one_after_it(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    workspace.faults["chat.update"] = [(429, 2)]
    await workspace.command("UADA", "deploy tinyllama")
    await soon(lambda: workspace.posted("C1"))
    await soon(lambda: not workspace.faults["chat.update"])  # the first live edit waits now
    [card] = workspace.posted("C1")
    await pass_time(200)
    await soon(lambda: [method for method, _ in workspace.calls].count("chat.update") >= 3)
    await soon(lambda: "is ready" in words(card))
    assert "is ready" in words(card)


async def test_a_message_is_found_by_its_key_after_a_restart(bot: Bot, workspace: FakeSlack) -> None:
    admins = Place("slack", "C1")
    sent = await bot.slack.post(admins, Reply(t("alerts.none"), key="alert-1"))
    for _ in range(5):
        await bot.slack.post(admins, Reply(t("alerts.none"), key="another"))
    await bot.restart()
    assert await bot.slack.find(admins, "alert-1") == sent
    assert await bot.slack.find(admins, "alert-2") == ""


async def test_a_page_of_a_proxy_instead_of_an_answer_is_a_refusal_with_its_status(
    workspace: FakeSlack,
) -> None:
    web = SlackWeb(BOT_TOKEN, workspace.url)
    workspace.faults["views.open"] = [502]
    with pytest.raises(SlackRefused) as refused:
        await web.call("views.open", quick=True)
    await web.close()
    assert refused.value.code == "502"
