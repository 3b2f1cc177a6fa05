"""Who may, who may not, and what nobody can make the bot do."""

from functools import partial

import pytest

from bot.app.settings import Settings
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock, PassTime
from tests.fakes.slack import BOT, FakeSlack, words
from tests.platforms.slack.conftest import Bot, answered, deployed, soon


@pytest.mark.parametrize(
    "mark", ["is_bot", "deleted", "is_restricted", "is_ultra_restricted", "is_stranger", {"team_id": "TELSE"}]
)
async def test_guests_bots_and_strangers_are_refused_before_anything_else(
    bot: Bot, workspace: FakeSlack, mark: dict[str, str] | str
) -> None:
    workspace.users["UEVE"].update(mark if isinstance(mark, dict) else {mark: True})
    await workspace.command("UEVE", "deploy tinyllama")
    await soon(lambda: workspace.whispers)
    assert "for members of this workspace" in words(workspace.whispers[0])
    assert bot.app.services.cluster.workloads() == []


async def test_where_people_from_elsewhere_read_nothing_is_said(bot: Bot, workspace: FakeSlack) -> None:
    workspace.channel("CEXT", is_ext_shared=True)
    await workspace.command("UADA", "status", channel="CEXT")
    await soon(lambda: workspace.whispers)
    assert "People outside the workspace can read this channel" in words(workspace.whispers[0])
    assert workspace.posted("CEXT") == []


async def test_where_the_bot_is_no_member_it_answers_directly_even_if_it_cannot_say_so(
    bot: Bot, workspace: FakeSlack
) -> None:
    workspace.channel("CPRIV", member=False, is_private=True)
    used_up = {"response_url": f"{workspace.base}/response/used-up"}
    await workspace.command("UADA", "gpus", channel="CPRIV", **used_up)
    await soon(lambda: workspace.posted("DADA"))
    assert workspace.responses == []


async def test_where_the_bot_is_no_member_it_answers_directly(bot: Bot, workspace: FakeSlack) -> None:
    workspace.channel("CPRIV", member=False, is_private=True)
    await workspace.command("UADA", "gpus", channel="CPRIV")
    await soon(lambda: workspace.posted("DADA"))
    assert "not a member of this conversation" in workspace.responses[0]["text"]
    workspace.channels["CPRIV"]["is_member"] = True
    await workspace.command("UADA", "gpus", channel="CPRIV")
    await soon(lambda: workspace.posted("CPRIV"))


def was_told(workspace: FakeSlack, user: str) -> bool:
    """Something that nobody else sees."""
    return any(whisper["user"] == user for whisper in workspace.whispers)


@pytest.mark.parametrize("group", ["S0ADMIN", "C0ADMIN"])
async def test_roles_by_user_group_and_by_channel(
    settings: Settings,
    workspace: FakeSlack,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
    group: str,
) -> None:
    workspace.groups["S0ADMIN"] = ["UEVE"]
    workspace.channel("C0ADMIN", members=["UEVE"], is_private=True)
    running = Bot(
        settings.model_copy(update={"admins": frozenset({group})}), workspace, cluster, inference, clock
    )
    await running.start()
    try:
        for user in ("UEVE", "UBOB"):
            await workspace.command(user, "whoami")
            await soon(partial(was_told, workspace, user))
        told = {whisper["user"]: words(whisper) for whisper in workspace.whispers}
        assert "admin" in told["UEVE"] and "student" in told["UBOB"]
    finally:
        await running.stop()


async def test_a_group_that_slack_does_not_tell_gives_no_role(
    settings: Settings,
    workspace: FakeSlack,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
) -> None:
    workspace.faults["usergroups.users.list"] = ["plan_upgrade_required"] * 9
    running = Bot(
        settings.model_copy(update={"admins": frozenset({"S0ADMIN"})}), workspace, cluster, inference, clock
    )
    await running.start()
    try:
        await workspace.command("UEVE", "whoami")
        await soon(lambda: workspace.whispers)
        assert "student" in words(workspace.whispers[0])
    finally:
        await running.stop()


async def test_what_a_model_says_calls_nobody_and_hides_no_link(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    evil = "<!channel> <@UADA> @here [click me](https://evil.example) <https://evil.example|bank>"
    asked = await workspace.say("UEVE", f"<@{BOT}> {evil}")
    shown = words(await answered(workspace, asked))
    for mark in ("<!channel>", "<@UADA>", "@here", "](https", "<https"):
        assert mark not in shown
    assert "click me" in shown


async def test_what_people_say_to_each_other_is_their_own(
    bot: Bot, workspace: FakeSlack, pass_time: PassTime
) -> None:
    await deployed(workspace, pass_time)
    root = await workspace.say("UADA", "has anybody seen my keys?")
    await workspace.say("UBOB", "no", thread=root)
    asked = await workspace.say("UEVE", f"<@{BOT}> hello")
    await answered(workspace, asked)
    await workspace.say("UEVE", "<@UBOB> look at this", thread=asked)
    await workspace.say("UEVE", "and you?", thread=asked)
    await answered(workspace, asked, 4)
    assert len(workspace.posted("C1", root)) == 1
    assert [method for method, _ in workspace.calls].count("conversations.replies") == 1


async def test_other_bots_and_its_own_messages_are_not_heard(bot: Bot, workspace: FakeSlack) -> None:
    await workspace.say("UADA", f"<@{BOT}> gpus", bot_id="BOTHER")
    await workspace.say("UADA", f"<@{BOT}> gpus", subtype="bot_message")
    workspace.person("UBOT")
    await workspace.say("UBOT", f"<@{BOT}> models qwen")
    await soon(lambda: any("qwen" in words(m) for m in workspace.messages.values()))
    assert not any("GPUs are free" in words(m) for m in workspace.messages.values() if m["user"] == "UBOT")
    assert len([m for m in workspace.messages.values() if m["user"] == BOT]) in (0, 1)
