"""What people do in Mattermost, over the real driver and a websocket."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from bot.app import background_jobs, platform_factory, wiring
from bot.app.settings import Settings
from bot.core.chat.errors import UserError
from bot.core.chat.message import Message, Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import t
from bot.engines.vllm.inference import VllmInference
from bot.platforms.mattermost.settings import MattermostSettings
from bot.platforms.shared.messengers import Messengers
from bot.simulator.cluster import SimulatedCluster
from bot.simulator.server import SimulatedServer
from tests.conftest import Clock, PassTime
from tests.fakes.mattermost import TOKEN, FakeMattermost
from tests.platforms.mattermost.conftest import ADMINS, Bot, deployed, said, soon, who


async def test_a_mention_deploys_and_its_card_is_one_post(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    card = await deployed(chat, pass_time)
    assert len(chat.posted("c1", card["root_id"])) == 1 and card["history"]
    assert "`!llm stop tinyllama`" in card["message"]


async def test_a_question_is_answered_in_its_thread_which_goes_on_after_a_restart(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    await deployed(chat, pass_time)
    asked = chat.say(who(chat, "eve"), "@llm what is PagedAttention?")
    answer = await said(chat, asked, "tokens/s")
    assert "You asked: “what is PagedAttention?”" in answer["message"]
    await bot.stop()
    await bot.start(chat)
    turns = await bot.mattermost.history(Place("mattermost", "c1", asked))
    assert [turn.role for turn in turns] == ["user", "assistant"] and turns[1].workload == "tinyllama"
    assert turns[0].content == "what is PagedAttention?" and "tokens/s" not in turns[1].content
    chat.say(who(chat, "eve"), "and why?", thread=asked)
    await said(chat, asked, "and why?")


async def test_what_is_private_goes_to_the_direct_messages_in_the_persons_language(
    bot: Bot, chat: FakeMattermost
) -> None:
    bob = who(chat, "bob")
    asked = chat.say(bob, "!llm depoly tinyllama")
    await soon(lambda: chat.posted(f"d{bob}"[:26]))
    assert "gibt es nicht" in chat.posted(f"d{bob}"[:26])[0]["message"] and not chat.posted("c1", asked)


async def test_a_system_admin_is_an_admin(bot: Bot, chat: FakeMattermost) -> None:
    grace = who(chat, "grace")
    asked = chat.say(grace, "whoami", f"d{grace}"[:26])
    assert "admin" in (await said(chat, asked, "grace", f"d{grace}"[:26]))["message"]


STRANGE = [{"roles": "system_guest"}, {"remote_id": "elsewhere"}, {"delete_at": 1}, {"is_bot": True}]


@pytest.mark.parametrize("mark", STRANGE, ids=str)
async def test_guests_bots_and_people_from_elsewhere_are_refused(
    bot: Bot, chat: FakeMattermost, mark: dict[str, Any]
) -> None:
    mallory = chat.person("mallory", **mark)
    asked = chat.say(mallory, "deploy tinyllama", f"d{mallory}"[:26])
    await said(chat, asked, "for members of this server", f"d{mallory}"[:26])
    assert bot.cluster.workloads() == []


@pytest.mark.parametrize(("kind", "role"), [("O", "student"), ("P", "admin")])
async def test_only_a_private_channel_gives_a_role(
    bot: Bot, chat: FakeMattermost, kind: str, role: str
) -> None:
    eve = who(chat, "eve")
    chat.channel(ADMINS, kind=kind, members=[eve])
    asked = chat.say(eve, "whoami", f"d{eve}"[:26])
    assert role in (await said(chat, asked, "eve", f"d{eve}"[:26]))["message"]


@pytest.mark.parametrize(
    "mark",
    [{"props": {"from_webhook": "true"}}, {"props": {"from_bot": "true"}}, {"type": "system_join_channel"}],
)
async def test_bots_webhooks_and_system_posts_are_not_heard(
    bot: Bot, chat: FakeMattermost, mark: dict[str, dict[str, str]] | dict[str, str]
) -> None:
    chat.say(who(chat, "eve"), "@llm gpus", **mark)
    asked = chat.say(who(chat, "eve"), "@llm gpus")
    await said(chat, asked, "GPUs are free")
    assert len([post for post in chat.posts.values() if "GPUs are free" in post["message"]]) == 1


async def test_others_are_left_alone(bot: Bot, chat: FakeMattermost) -> None:
    root = chat.say(who(chat, "eve"), "write to boss@llm or @llm-fan")
    chat.say(who(chat, "eve"), "status", thread=root)
    asked = chat.say(who(chat, "eve"), "@llm gpus")
    await said(chat, asked, "GPUs are free")
    assert chat.posted("c1", root) == []


@pytest.mark.parametrize("how", ["abort", "close", "restart"])
async def test_nothing_is_lost_or_answered_twice_when_the_connection_breaks(
    bot: Bot, chat: FakeMattermost, how: str
) -> None:
    first = chat.say(who(chat, "eve"), "@llm gpus")
    await said(chat, first, "GPUs are free")
    await chat.drop(how)
    missed = [chat.say(who(chat, "eve"), "@llm gpus") for _ in range(3)]
    await soon(lambda: chat.sockets and bot.mattermost.ready)
    later = chat.say(who(chat, "eve"), "@llm gpus")
    for asked in (*missed, later):
        await said(chat, asked, "GPUs are free")
    assert all(len(chat.posted("c1", asked)) == 1 for asked in (first, *missed, later))
    assert chat.hellos == (2 if how == "restart" else 1)  # else it was taken up where it was
    assert chat.hellos == (2 if how == "restart" else 1)  # else it was taken up where it was


async def test_after_a_long_gap_what_was_missed_is_answered_and_nothing_twice(
    bot: Bot, chat: FakeMattermost
) -> None:
    first = chat.say(who(chat, "eve"), "@llm gpus")
    await said(chat, first, "GPUs are free")
    chat.faults["GET /channels"] = [404]  # the server is not quite there yet
    await chat.drop("restart")
    missed = chat.say(who(chat, "eve"), "@llm gpus")
    await said(chat, missed, "GPUs are free")
    assert not chat.faults["GET /channels"]
    assert len(chat.posted("c1", first)) == len(chat.posted("c1", missed)) == 1


async def test_a_bug_in_one_request_is_not_the_end_of_the_others(
    bot: Bot, chat: FakeMattermost, capsys: pytest.CaptureFixture[str]
) -> None:
    chat.say(who(chat, "eve"), "@llm gpus", message=None)  # a post as no server writes it
    await soon(lambda: "TypeError" in capsys.readouterr().out)
    asked = chat.say(who(chat, "eve"), "@llm gpus")
    await said(chat, asked, "GPUs are free")


async def test_a_connection_that_falls_silent_is_given_up(bot: Bot, chat: FakeMattermost) -> None:
    chat.deaf, before = True, chat.connects
    await soon(lambda: not bot.mattermost.ready)
    chat.deaf = False
    await soon(lambda: chat.connects > before and bot.mattermost.ready)
    asked = chat.say(who(chat, "eve"), "@llm gpus")
    await said(chat, asked, "GPUs are free")


@pytest.mark.parametrize("fault", [502, (429, 1), "lose"])
async def test_a_post_is_written_once_whatever_breaks(bot: Bot, chat: FakeMattermost, fault: object) -> None:
    chat.faults["POST /posts"] = [fault]
    asked = chat.say(who(chat, "eve"), "@llm gpus")
    await said(chat, asked, "GPUs are free")
    other = chat.say(who(chat, "eve"), "@llm models qwen")
    await said(chat, other, "qwen")
    assert len(chat.posted("c1", asked)) == 1


async def test_a_slow_answer_delays_nobody_else(bot: Bot, chat: FakeMattermost) -> None:
    chat.faults["POST /posts"] = [5.0] * 10
    slow = [chat.say(who(chat, "eve"), "@llm gpus") for _ in range(10)]
    await soon(lambda: not chat.faults["POST /posts"])
    asked = chat.say(who(chat, "ada"), "@llm gpus")
    await said(chat, asked, "GPUs are free")
    assert not any(chat.posted("c1", thread) for thread in slow)


async def test_a_long_answer_is_several_posts_and_one_memory(
    bot: Bot,
    chat: FakeMattermost,
    server: SimulatedServer,
    pass_time: PassTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.simulator.server.ANSWER", "```python\n" + "x = 1\n" * 5000 + "```\n@channel")
    await deployed(chat, pass_time)
    asked = chat.say(who(chat, "eve"), "@llm write much code")
    await said(chat, asked, "tokens/s")
    pages = [post["message"] for post in chat.posted("c1", asked)]
    assert len(pages) == 2 and all(page.startswith("```python\n") for page in pages)
    assert pages[0].endswith("\n```") and "@channel" not in pages[1]
    assert "".join(pages).count("x = 1\n") >= 4999  # one line may be cut in two
    await bot.stop()
    await bot.start(chat)
    [_, answer] = await bot.mattermost.history(Place("mattermost", "c1", asked))
    assert answer.content.count("x = 1\n") >= 4999


async def test_what_a_model_writes_calls_nobody_not_even_while_it_flows(
    bot: Bot,
    chat: FakeMattermost,
    server: SimulatedServer,
    pass_time: PassTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.simulator.server.ANSWER", "@all and @channel " * 20)
    await deployed(chat, pass_time)
    server.pause = 0.05
    asked = chat.say(who(chat, "eve"), "@llm call everybody")
    answer = await said(chat, asked, "tokens/s")
    assert answer["history"]
    assert not any("@all" in text or "@channel" in text for text in (*answer["history"], answer["message"]))


async def test_an_answer_that_may_no_longer_be_edited_stands_whole_in_a_new_post(
    bot: Bot, chat: FakeMattermost, server: SimulatedServer, pass_time: PassTime
) -> None:
    await deployed(chat, pass_time)
    chat.edit_limit, server.pause = 0.0, 0.05
    asked = chat.say(who(chat, "eve"), "@llm what is PagedAttention?")
    whole = await said(chat, asked, "tokens/s")
    assert whole["message"].startswith("I am tinyllama") and len(chat.posted("c1", asked)) == 2


async def test_a_model_that_thinks_is_seen_typing(
    bot: Bot, chat: FakeMattermost, server: SimulatedServer, pass_time: PassTime
) -> None:
    await deployed(chat, pass_time)
    server.pause = 60.0
    asked = chat.say(who(chat, "eve"), "@llm think hard")
    await soon(lambda: chat.typing)
    assert chat.typing[0]["parent_id"] == asked


async def test_over_tls_with_a_private_authority(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: Clock, tmp_path: Path
) -> None:
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    fake = FakeMattermost()
    url = await fake.start(tls)
    eve = fake.person("eve")
    own = MattermostSettings(
        _env_file=None,
        mattermost_url=url,
        mattermost_token=SecretStr(TOKEN),
        mattermost_ca_file=str(tmp_path / "ca.pem"),
    )
    [chat] = platform_factory.create(settings, {"mattermost": own}, cluster.changes)
    built = wiring.build(settings, cluster, inference, Messengers([chat]), clock)
    running = asyncio.create_task(background_jobs.serve(settings, built, [chat]))
    await soon(lambda: fake.sockets and chat.ready)
    asked = fake.say(eve, "gpus", f"d{eve}"[:26])
    await said(fake, asked, "GPUs are free", f"d{eve}"[:26])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await fake.stop()


async def answer(message: Message) -> AsyncGenerator[Reply, str | None]:
    """Nobody gets to hear it."""
    yield Reply()


async def test_a_wrong_token_is_said_and_ends_the_bot(
    settings: Settings, server_url: tuple[FakeMattermost, str], cluster: SimulatedCluster
) -> None:
    wrong = MattermostSettings(
        _env_file=None, mattermost_url=server_url[1], mattermost_token=SecretStr("guessed")
    )
    [chat] = platform_factory.create(settings, {"mattermost": wrong}, cluster.changes)
    with pytest.raises(UserError) as error:
        await chat.listen(answer)
    told = wiring.phrasebook(settings).say(error.value.text, "en")
    assert told.startswith("Mattermost does not accept MATTERMOST_TOKEN") and "guessed" not in told


async def test_a_question_that_waits_survives_a_restart(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime
) -> None:
    await deployed(chat, pass_time)
    chat.say(who(chat, "ada"), "!llm sleep tinyllama")
    await soon(lambda: bot.cluster.workloads()[0].replicas == 0)
    await pass_time(3)
    asked = chat.say(who(chat, "eve"), "@llm ask tinyllama are you awake?")
    await soon(lambda: bot.cluster.workloads()[0].replicas == 1)
    await pass_time(2)
    await soon(lambda: bot.cluster.workloads()[0].record.pending_questions)
    await bot.stop()
    [waiting] = chat.posted("c1", asked)
    await bot.start(chat)
    await pass_time(10)
    await soon(lambda: bot.app.services.pending_questions.waiting_for("tinyllama"))
    await pass_time(200)
    answer = await said(chat, asked, "tokens/s")
    assert answer["id"] == waiting["id"] and "are you awake?" in answer["message"]
    await soon(lambda: not bot.cluster.workloads()[0].record.pending_questions)
    assert len(chat.posted("c1", asked)) == 1


async def test_a_message_is_found_by_its_key_after_a_restart(bot: Bot, chat: FakeMattermost) -> None:
    admins = Place("mattermost", "c1")
    sent = await bot.mattermost.post(admins, Reply(t("alerts.none"), key="alert-1"))
    chat.say(who(chat, "eve"), "hello", props={"llm_bot": {"key": "alert-2"}})  # people cannot claim one
    await bot.stop()
    await bot.start(chat)
    assert await bot.mattermost.find(admins, "alert-1") == sent
    assert await bot.mattermost.find(admins, "alert-2") == ""


async def test_a_report_comes_with_a_chart(
    bot: Bot, chat: FakeMattermost, pass_time: PassTime, clock: Clock
) -> None:
    await deployed(chat, pass_time)
    for _ in range(3):
        clock.advance(minutes=1)
        await bot.app.tick()
    asked = chat.say(who(chat, "grace"), "!llm report")
    await said(chat, asked, "GPU-hours used")
    shown = await said(chat, asked, "GPU-hours of the last 7 days")
    assert shown["file_ids"] and "PNG" in chat.files[-1]["content"]
