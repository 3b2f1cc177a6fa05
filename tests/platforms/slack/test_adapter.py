"""What people do in Slack, over the real SDK and its sockets."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.core.chat.message import Place
from bot.core.deployment.workload import Phase
from bot.platforms.shared import inbound
from bot.simulator.cluster import SimulatedCluster
from bot.simulator.server import SimulatedServer
from tests.conftest import Clock, PassTime
from tests.fakes.slack import BOT, FakeSlack, labels, words
from tests.platforms.slack.conftest import Bot, answered, deployed, soon


async def test_a_form_deploys_and_its_card_is_kept(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    await workspace.command("UADA", "")
    await soon(lambda: workspace.views)
    [view] = workspace.views.values()
    assert view["title"]["text"] == "Deploy a model"
    await workspace.fill("UADA", view, model="llama-3-8b", tp="1")
    await soon(lambda: "does not fit on one V100" in words(workspace.views[view["id"]]))
    view = workspace.views[view["id"]]
    refused = await workspace.submit("UADA", view)
    assert refused and refused["open"]  # and nothing that was filled in is lost
    await workspace.fill("UADA", view, tp="2")
    await soon(lambda: "15.0 GiB of weights" in words(workspace.views[view["id"]]))
    assert await workspace.submit("UADA", workspace.views[view["id"]]) is None

    await soon(lambda: workspace.posted("C1"))
    [card] = workspace.posted("C1")
    await soon(lambda: card["history"])
    assert "llama-3-8b · fp16 · 2 × V100 (tp 2) · 8k context" in card["history"][0][1]
    await pass_time(300)
    await soon(lambda: "llama-3-8b is ready" in words(card))
    assert labels(card) == ["Ask", "Open WebUI", "Logs", "Keep 4 h", "Sleep", "Stop"]
    assert len(workspace.posted("C1")) == 1


async def test_a_wrong_value_in_a_form_is_explained_in_it(bot: Bot, workspace: FakeSlack) -> None:
    await workspace.command("UADA", "deploy")
    await soon(lambda: workspace.views)
    [view] = workspace.views.values()
    await workspace.fill("UADA", view, model="tinyllama", ttl="soon")
    refused = await workspace.submit("UADA", workspace.views[view["id"]])
    assert refused and "ttl takes a duration" in words(refused)
    assert view["state"]["values"]["ttl"]["value"]["value"] == "soon"
    await workspace.fill("UADA", refused, ttl="2h")
    await workspace.submit("UADA", workspace.views[view["id"]])
    await soon(lambda: workspace.posted("C1"))


async def test_a_question_in_a_channel_is_answered_in_its_thread_and_the_thread_goes_on(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    asked = await workspace.say("UEVE", f"<@{BOT}> what is PagedAttention?")
    answer = await answered(workspace, asked)
    assert "You asked: “what is PagedAttention?”" in words(answer)
    assert not answer.get("streaming") and labels(answer) == []
    await workspace.say("UEVE", "and why?", thread=asked)
    assert "and why?" in words(await answered(workspace, asked, 3))


async def test_the_thread_remembers_after_a_restart_which_model_and_what_was_said(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time, "deploy tinyllama")
    await deployed(workspace, pass_time, "deploy qwen3-0.6b", user="UBOB")
    asked = await workspace.say("UEVE", f"<@{BOT}> ask qwen3-0.6b my name is Eve")
    await answered(workspace, asked)
    await bot.restart()
    turns = await bot.slack.history(place(asked))
    assert [turn.role for turn in turns] == ["user", "assistant"] and turns[1].workload == "qwen3-0.6b"
    assert turns[0].content == "my name is Eve" and turns[1].content.startswith("I am qwen3-0.6b")
    await workspace.say("UEVE", "what is my name?", thread=asked)
    assert "qwen3-0.6b · " in words(await answered(workspace, asked, 3))
    assert len(await bot.slack.history(place(asked))) == 4


def place(thread: str) -> Place:
    return Place("slack", "C1", thread)


async def test_a_slash_question_opens_a_thread_of_its_own(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    await workspace.command("UEVE", "ask tinyllama what is a lease?")
    await soon(lambda: len(workspace.posted("C1")) == 2)
    opener = workspace.posted("C1")[-1]
    assert words(opener) == "eve asks: what is a lease?"
    await answered(workspace, opener["ts"])


async def test_a_direct_message_asks_the_persons_model_or_is_a_command(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    asked = await workspace.say("UADA", "help me understand KV caches", channel="DADA")
    await soon(lambda: workspace.posted("DADA", asked))
    await soon(lambda: "tokens/s" in words(workspace.posted("DADA", asked)[0]))
    asked = await workspace.say("UADA", "statsu", channel="DADA")
    await soon(lambda: workspace.posted("DADA", asked))
    assert labels(workspace.posted("DADA", asked)[0]) == ["/llm status"]
    asked = await workspace.say("UADA", "gpus", channel="DADA")
    await soon(lambda: workspace.posted("DADA", asked))
    assert "icc-gpu-1 · 4 · 3 · 1 × tinyllama (ada)" in words(workspace.posted("DADA", asked)[0])


async def test_a_question_to_a_sleeping_model_wakes_it_and_the_waiting_message_becomes_the_answer(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    card = await deployed(workspace, pass_time)
    await workspace.click("UADA", card, "Sleep")
    await soon(lambda: bot.app.services.cluster.workloads()[0].replicas == 0)
    await pass_time(3)
    asked = await workspace.say("UEVE", f"<@{BOT}> ask tinyllama are you awake?")
    await soon(lambda: bot.app.services.cluster.workloads()[0].replicas == 1)
    await pass_time(2)
    await soon(lambda: workspace.posted("C1", asked))
    [answer] = workspace.posted("C1", asked)
    assert "your question is answered as soon as it is ready" in words(answer)
    await pass_time(200)
    await soon(lambda: "You asked: “are you awake?”" in words(answer) and "tokens/s" in words(answer))
    assert "tokens/s" in words(answer) and len(workspace.posted("C1", asked)) == 1


async def test_stop_ends_generation_and_keeps_what_came(
    bot: Bot, workspace: FakeSlack, server: SimulatedServer, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    server.misbehave["tinyllama"] = "silent"
    asked = await workspace.say("UEVE", f"<@{BOT}> tell me everything")
    await soon(lambda: workspace.posted("C1", asked) and labels(workspace.posted("C1", asked)[0]))
    [answer] = workspace.posted("C1", asked)
    assert labels(answer) == ["Stop"]
    await soon(lambda: "I am tinyllama" in answer["text"])
    await workspace.click("UBOB", {**answer, "thread_ts": asked}, "Stop")
    await soon(lambda: workspace.whispers)
    assert "Only the person who asked can stop this answer." in words(workspace.whispers[-1])
    assert bot.app.services.activity.in_flight("tinyllama") == 1
    await workspace.click("UEVE", {**answer, "thread_ts": asked}, "Stop")
    await soon(lambda: "stopped here" in words(answer))
    assert bot.app.services.activity.in_flight("tinyllama") == 0
    assert words(answer).startswith("I am") and labels(answer) == []


async def test_buttons_work_for_who_may_after_a_restart_and_a_stale_one_says_so(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    card = await deployed(workspace, pass_time)
    await bot.restart()
    await workspace.click("UEVE", card, "Stop")
    await soon(lambda: workspace.whispers)
    assert "tinyllama belongs to ada" in words(workspace.whispers[-1]) and "is ready" in words(card)
    await workspace.click("UADA", card, "Sleep")
    await soon(lambda: "goes to sleep" in words(card) or "sleeps" in words(card))
    old = {**card, "blocks": list(card["blocks"])}
    await workspace.command("UADA", "stop tinyllama")
    await soon(lambda: bot.app.services.cluster.workloads() == [])
    await pass_time(2)
    await deployed(workspace, pass_time)
    await workspace.click("UADA", old, "Stop" if "Stop" in labels(old) else "Wake")
    await soon(lambda: "belongs to an earlier tinyllama" in words(workspace.whispers[-1]))
    assert len(bot.app.services.cluster.workloads()) == 1


async def test_keep_moves_the_end_and_the_card_says_so(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime, clock: Clock
) -> None:
    card = await deployed(workspace, pass_time, "deploy tinyllama ttl=1h")
    before = words(card)
    await workspace.click("UADA", card, "Keep 4 h")
    await soon(lambda: workspace.whispers and "is kept awake until" in words(workspace.whispers[-1]))
    await soon(lambda: words(card) != before)
    assert "in 4 h" in words(card)


async def test_ask_button_opens_a_form_and_the_answer_comes(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    card = await deployed(workspace, pass_time)
    await workspace.click("UEVE", card, "Ask")
    await soon(lambda: workspace.views)
    [view] = workspace.views.values()
    await workspace.fill("UEVE", view, text='say "hi"\nand more')
    await workspace.submit("UEVE", view)
    await soon(lambda: len(workspace.posted("C1")) == 2)
    answer = await answered(workspace, workspace.posted("C1")[-1]["ts"])
    assert 'You asked: “say "hi"' in words(answer)


async def test_logs_are_private_and_long_ones_a_file(
    bot: Bot,
    workspace: FakeSlack,
    pass_time: PassTime,
    cluster: SimulatedCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await deployed(workspace, pass_time)
    await workspace.command("UADA", "logs tinyllama 3")
    await soon(lambda: workspace.whispers)
    assert workspace.whispers[-1]["user"] == "UADA" and "INFO" in words(workspace.whispers[-1])

    async def long(name: str, lines: int) -> str:
        return "INFO something happened\n" * 500

    monkeypatch.setattr(cluster, "logs", long)
    await workspace.command("UADA", "logs tinyllama 500")
    await soon(lambda: len(workspace.whispers) == 2)
    assert "in our direct messages" in words(workspace.whispers[-1])
    [file] = workspace.files
    assert file["channel"] == "DADA" and file["content"].count("\n") == 500
    assert all("INFO" not in words(message) for message in workspace.posted("C1"))


async def test_home_shows_what_is_mine_and_follows(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    await workspace.event({"type": "app_home_opened", "user": "UADA", "tab": "home", "channel": "DADA"})
    await soon(lambda: "UADA" in workspace.homes)
    assert "You have no deployments." in words(workspace.homes["UADA"])
    assert "8 of 8 GPUs are free" in words(workspace.homes["UADA"])
    await workspace.command("UADA", "deploy llama-3-8b")
    await soon(lambda: "*llama-3-8b*" in words(workspace.homes["UADA"]))
    assert labels(workspace.homes["UADA"])[0] == "Deploy a model"
    await workspace.click("UADA", workspace.homes["UADA"], "Deploy a model")
    await soon(lambda: workspace.views)


async def test_everybody_is_answered_in_their_own_language(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    workspace.users["UBOB"]["locale"] = "de-DE"
    card = await deployed(workspace, pass_time, "deploy qwen3-0.6b", user="UBOB", ready="ist bereit")
    assert "Stop" not in labels(card)
    await workspace.command("UADA", "deploy qwen3-0.6b")
    await workspace.command("UBOB", "deploy qwen3-0.6b")
    await soon(lambda: len(workspace.whispers) == 2)
    told = {whisper["user"]: words(whisper) for whisper in workspace.whispers}
    assert "already exists" in told["UADA"] and "gibt es schon" in told["UBOB"]


async def test_what_was_answered_late_is_announced(
    bot: Bot, workspace: FakeSlack, server: SimulatedServer, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    server.pause = 60.0
    asked = await workspace.say("UEVE", f"<@{BOT}> think hard")
    await soon(lambda: workspace.statuses)
    assert workspace.statuses[0]["thread_ts"] == asked


async def test_a_long_answer_is_several_messages_and_one_memory(
    bot: Bot,
    workspace: FakeSlack,
    server: SimulatedServer,
    pass_time: PassTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.simulator.server.ANSWER", "```python\n" + "x = 1\n" * 4000 + "```\ndone")
    await deployed(workspace, pass_time)
    asked = await workspace.say("UEVE", f"<@{BOT}> write much code")
    await soon(lambda: "tokens/s" in "".join(map(words, workspace.posted("C1", asked))))
    pages = [words(page) for page in workspace.posted("C1", asked)]
    assert len(pages) == 3 and all(page.startswith("```python\nx = 1\n") for page in pages)
    assert all(page.endswith("x = 1\n```") for page in pages[:2])
    assert "".join(pages).count("x = 1\n") == 4000
    await bot.restart()
    [question, answer] = await bot.slack.history(place(asked))
    assert question.content == "write much code" and answer.content.count("x = 1\n") == 4000


async def test_a_card_that_changes_fast_is_edited_once_in_three_seconds(
    bot: Bot, workspace: FakeSlack, clock: Clock, cluster: SimulatedCluster
) -> None:
    await workspace.command("UADA", "deploy llama-3-8b")
    await soon(lambda: workspace.posted("C1"))
    [card] = workspace.posted("C1")
    await soon(cluster.workloads)
    while cluster.workloads()[0].phase is not Phase.READY:  # its phases pass in a few real seconds
        clock.advance(seconds=5)
        cluster.step()
        await asyncio.sleep(0.15)
    await soon(lambda: "is ready" in words(card))
    edits = [at for at, _ in card["history"]]
    live = edits[:-1]  # the last one is never held back
    assert len(live) >= 2 and all(later - sooner > 2.9 for sooner, later in pairwise(live))


async def test_who_waits_for_a_sleeping_model_can_give_up(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    card = await deployed(workspace, pass_time)
    await workspace.click("UADA", card, "Sleep")
    await soon(lambda: bot.app.services.cluster.workloads()[0].replicas == 0)
    await pass_time(3)
    asked = await workspace.say("UEVE", f"<@{BOT}> ask tinyllama are you awake?")
    await soon(lambda: bot.app.services.cluster.workloads()[0].replicas == 1)
    await pass_time(2)
    await soon(lambda: workspace.posted("C1", asked))
    [waiting] = workspace.posted("C1", asked)
    assert labels(waiting) == ["Stop"]
    await workspace.click("UEVE", {**waiting, "thread_ts": asked}, "Stop")
    await soon(lambda: "stopped here" in words(waiting))
    assert labels(waiting) == [] and len(workspace.posted("C1", asked)) == 1


async def asleep_and_asked(bot: Bot, workspace: FakeSlack, pass_time: PassTime) -> tuple[str, dict[str, Any]]:
    """A question of eve's that waits until the model wakes: its thread, and the message that says so."""
    card = await deployed(workspace, pass_time)
    await workspace.click("UADA", card, "Sleep")
    await soon(lambda: bot.app.services.cluster.workloads()[0].replicas == 0)
    await pass_time(3)
    asked = await workspace.say("UEVE", f"<@{BOT}> ask tinyllama temp=0.5 are you awake?")
    await soon(lambda: bot.app.services.cluster.workloads()[0].replicas == 1)
    await pass_time(2)
    await soon(lambda: bot.app.services.cluster.workloads()[0].record.pending_questions)
    [waiting] = workspace.posted("C1", asked)
    return asked, waiting


async def test_a_question_that_waits_survives_a_restart(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    asked, waiting = await asleep_and_asked(bot, workspace, pass_time)
    await bot.restart()
    assert "stopped here" not in words(waiting)
    await pass_time(10)
    await soon(lambda: bot.app.services.pending_questions.waiting_for("tinyllama") == ["UEVE"])
    await pass_time(200)
    answer = await answered(workspace, asked)
    assert answer["ts"] == waiting["ts"] and "are you awake?" in words(answer)
    await soon(lambda: not bot.app.services.cluster.workloads()[0].record.pending_questions)
    await bot.restart()
    await pass_time(10)
    assert len(workspace.posted("C1", asked)) == 1 and "tokens/s" in words(answer)


@pytest.mark.parametrize("how", ["given up", "deleted"])
async def test_a_wait_that_is_over_is_not_taken_up_again(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime, how: str
) -> None:
    asked, waiting = await asleep_and_asked(bot, workspace, pass_time)
    if how == "deleted":
        await bot.stop()
        del workspace.messages["C1", waiting["ts"]]
        await bot.start()
    else:
        await workspace.click("UEVE", {**waiting, "thread_ts": asked}, "Stop")
        await soon(lambda: "stopped here" in words(waiting))
    await pass_time(10)
    await soon(lambda: not bot.app.services.cluster.workloads()[0].record.pending_questions)
    await pass_time(200)
    assert [m["ts"] for m in workspace.posted("C1", asked)] == ([] if how == "deleted" else [waiting["ts"]])


async def test_a_wait_whose_model_cannot_start_ends_in_its_message_after_a_restart(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime, cluster: SimulatedCluster
) -> None:
    asked, waiting = await asleep_and_asked(bot, workspace, pass_time)
    await bot.restart()
    await pass_time(10)
    await soon(lambda: bot.app.services.pending_questions.waiting_for("tinyllama") == ["UEVE"])
    cluster.fail("tinyllama", "cuda_oom")
    await pass_time(10)
    await soon(lambda: "did not start" in words(waiting))
    await soon(lambda: not cluster.workloads()[0].record.pending_questions)
    assert len(workspace.posted("C1", asked)) == 1


async def test_a_report_comes_with_a_chart(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime, clock: Clock
) -> None:
    await deployed(workspace, pass_time)
    for _ in range(3):
        clock.advance(minutes=1)
        await bot.app.tick()
    await workspace.command("UGRACE", "report")
    await soon(lambda: workspace.files and "content" in workspace.files[-1])
    await soon(lambda: any("GPU-hours used" in words(message) for message in workspace.posted("C1")))
    [file] = workspace.files
    assert file["channel"] == "C1" and "PNG" in file["content"] and file["name"].endswith(".png")


async def test_a_question_that_was_sealed_with_another_token_is_asked_for_again(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    _, waiting = await asleep_and_asked(bot, workspace, pass_time)
    await bot.stop()
    waiting["metadata"]["event_payload"]["sealed"] = "of another token"
    await bot.start()
    await pass_time(10)
    await soon(lambda: "ask again" in words(waiting))
    await soon(lambda: not bot.app.services.cluster.workloads()[0].record.pending_questions)


async def test_a_wait_goes_on_when_there_is_room_and_ends_for_whoever_may_ask_no_more(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, waiting = await asleep_and_asked(bot, workspace, pass_time)
    await bot.stop()
    monkeypatch.setattr(inbound, "MOST_TASKS", 0)
    workspace.users["UEVE"]["is_restricted"] = True
    with capture_logs() as logs:
        await bot.start()
        await pass_time(10)
        await soon(lambda: any(entry["event"] == "requests.too_many" for entry in logs))
    assert bot.app.services.cluster.workloads()[0].record.pending_questions
    monkeypatch.undo()
    await pass_time(10)
    await soon(lambda: not bot.app.services.cluster.workloads()[0].record.pending_questions)
    await soon(lambda: "guests" in words(waiting))
    assert len(workspace.posted("C1", asked)) == 1
