"""What one person may try against another over a chat: every click, form and line is weighed anew."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from bot.app.settings import Settings
from bot.core.chat.text import Phrasebook
from bot.core.deployment.workload import Workload
from bot.engines.vllm.inference import VllmInference
from bot.platforms.mattermost.adapter import Mattermost
from bot.platforms.shared.sealing import Sealer
from bot.platforms.slack.adapter import Slack
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock, PassTime, eventually
from tests.contract.chats import InMattermost, InSlack
from tests.fakes.mattermost import TOKEN, FakeMattermost
from tests.fakes.slack import APP_TOKEN, BOT, BOT_TOKEN, FakeSlack, labels, words

Shown = dict[str, Any]
PROMPT = "You are the secret reviewer of Ada"


@pytest_asyncio.fixture
async def slack(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[InSlack]:
    """Ada, a researcher, in Slack; Eve is there too."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    ada = InSlack("ada", "en-US")
    await ada.come(settings, cluster, inference, clock)
    ada.fake.person("UEVE")
    yield ada
    await ada.leave()


@pytest_asyncio.fixture
async def mattermost(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: Clock
) -> AsyncIterator[InMattermost]:
    """Ada, a researcher, in Mattermost; Eve is there too."""
    ada = InMattermost("ada", "en")
    await ada.come(settings, cluster, inference, clock)
    ada.fake.person("eve")
    yield ada
    await ada.leave()


async def card_of(slack: InSlack, pass_time: PassTime, user: str = "UADA") -> Shown:
    """The card of a model of that person's, which is ready."""
    before = len(slack.fake.posted("C1"))
    await slack.fake.command(user, "deploy tinyllama")
    await eventually(lambda: len(slack.fake.posted("C1")) > before and slack.bot.cluster.workloads())
    await pass_time(200)
    await eventually(lambda: "is ready" in words(slack.fake.posted("C1")[-1]))
    return slack.fake.posted("C1")[-1]


def told(fake: FakeSlack, user: str) -> list[str]:
    return [words(whisper) for whisper in fake.whispers if whisper["user"] == user]


async def refused(fake: FakeSlack, user: str, before: int) -> str:
    """The next private word to the person, which must be a refusal."""
    await eventually(lambda: len(told(fake, user)) > before)
    assert told(fake, user)[-1].startswith("✕")
    return told(fake, user)[-1]


def untouched(slack: InSlack) -> Workload:
    [workload] = slack.bot.cluster.workloads()
    assert (workload.record.owner, workload.replicas, workload.record.keep_until) == ("UADA", 1, None)
    assert workload.record.sleep_state is None
    return workload


async def test_each_button_of_a_card_that_another_presses_is_refused(
    slack: InSlack, pass_time: PassTime
) -> None:
    card = await card_of(slack, pass_time)
    pressed = [label for label in labels(card) if label.startswith(("Stop", "Sleep", "Keep", "Logs"))]
    assert len(pressed) >= 4
    for number, label in enumerate(pressed):
        await slack.fake.click("UEVE", card, label)
        await refused(slack.fake, "UEVE", number)
    untouched(slack)


async def test_no_button_of_a_card_puts_another_story_in_its_place(
    slack: InSlack, pass_time: PassTime
) -> None:
    card = await card_of(slack, pass_time)
    for who in ("UADA", "UEVE"):
        before = len(slack.fake.posted("C1"))
        await slack.fake.click(who, card, "Open WebUI")
        await eventually(lambda: "Open WebUI" in words(slack.fake.posted("C1")[-1]))
        await eventually(lambda: len(slack.fake.posted("C1")) > before)  # noqa: B023
        assert "tinyllama is ready" in words(card) and "Stop" in labels(card)


@pytest.mark.parametrize(
    "line",
    [
        "stop tinyllama",
        "sleep tinyllama",
        "keep tinyllama 4h",
        "scale tinyllama tp=1",
        "logs tinyllama",
        "key tinyllama",
        "undo",
        "deploy tinyllama name=tinyllama tp=2",
        "alerts",
        "simulate fail tinyllama",
    ],
)
async def test_no_line_of_another_touches_it(slack: InSlack, pass_time: PassTime, line: str) -> None:
    await card_of(slack, pass_time)
    await slack.fake.command("UEVE", line)
    await eventually(lambda: told(slack.fake, "UEVE") or len(slack.fake.posted("C1")) > 1)
    untouched(slack)


async def test_a_forged_form_runs_as_who_sends_it(slack: InSlack, pass_time: PassTime) -> None:
    await card_of(slack, pass_time)
    await slack.fake.command("UEVE", "deploy")
    await eventually(lambda: slack.fake.views)
    view = next(iter(slack.fake.views.values()))
    forged = json.loads(view["private_metadata"]) | {"line": "stop tinyllama", "required": []}
    await slack.fake.submit("UEVE", view | {"private_metadata": json.dumps(forged)})
    untouched(slack)


async def test_a_button_of_an_earlier_deployment_does_nothing_to_the_next_of_its_name(
    slack: InSlack, pass_time: PassTime
) -> None:
    card = await card_of(slack, pass_time)
    await slack.fake.click("UADA", card, "Stop")
    await eventually(lambda: not slack.bot.cluster.workloads())
    await pass_time(5)
    await card_of(slack, pass_time, "UEVE")
    kept = {**card, "blocks": json.loads(json.dumps(card["blocks"]))}
    stop = {"type": "button", "action_id": "line0", "text": {"type": "plain_text", "text": "Stop"}}
    about = "tinyllama@2030-01-01T12:00:00+00:00"
    kept["blocks"] = [{"type": "actions", "elements": [{**stop, "value": f"{about}\nstop tinyllama"}]}]
    before = len(told(slack.fake, "UADA"))
    await slack.fake.click("UADA", kept, "Stop")
    await refused(slack.fake, "UADA", before)
    [workload] = slack.bot.cluster.workloads()
    assert workload.record.owner == "UEVE" and workload.replicas == 1


async def asleep_and_asked(slack: InSlack, pass_time: PassTime) -> tuple[str, Shown]:
    """A question of Ada's with a system prompt, which waits until the model wakes: its thread and message."""
    card = await card_of(slack, pass_time)
    await slack.fake.click("UADA", card, "Sleep")
    await eventually(lambda: slack.bot.cluster.workloads()[0].replicas == 0)
    await pass_time(3)
    asked = await slack.fake.say("UADA", f'<@{BOT}> ask tinyllama system="{PROMPT}" are you awake?')
    await eventually(lambda: slack.bot.cluster.workloads()[0].record.pending_questions)
    [waiting] = slack.fake.posted("C1", asked)
    return asked, waiting


async def test_kind_16_what_a_waiting_message_remembers_holds_no_prompt_in_clear(
    slack: InSlack, pass_time: PassTime
) -> None:
    with capture_logs() as logged:
        asked, waiting = await asleep_and_asked(slack, pass_time)
        sealed = waiting["metadata"]["event_payload"]["sealed"]
        assert PROMPT in (Sealer(BOT_TOKEN).open(sealed) or "")
        assert Sealer("xoxb-another").open(sealed) is None
        stored = json.dumps([{k: v for k, v in waiting.items() if k != "history"}, str(slack.bot.cluster)])
        assert PROMPT not in stored
        await slack.bot.restart()
        await pass_time(200)
        await eventually(lambda: "tokens/s" in words(slack.fake.posted("C1", asked)[-1]))
    [answer] = slack.fake.posted("C1", asked)
    assert "sealed" not in answer["metadata"]["event_payload"] and PROMPT not in json.dumps(answer)
    assert PROMPT not in str(logged)


async def test_a_forged_memory_is_not_gone_on_with(slack: InSlack, pass_time: PassTime) -> None:
    _, waiting = await asleep_and_asked(slack, pass_time)
    await slack.bot.stop()
    forged = Sealer("xoxb-another").seal("stop tinyllama")
    waiting["metadata"]["event_payload"]["sealed"] = forged
    await slack.bot.start()
    await pass_time(10)
    await eventually(lambda: not slack.bot.cluster.workloads()[0].record.pending_questions)
    assert slack.bot.cluster.workloads()[0].record.owner == "UADA"


@pytest.mark.parametrize(
    ("channel", "role"),
    [
        ({"is_private": True}, "admin"),
        ({"is_private": False}, "student"),
        ({}, "student"),
        ({"is_private": True, "member": False}, "student"),
    ],
)
async def test_kind_11_only_a_private_channel_gives_a_role_in_slack(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    phrases: Phrasebook,
    channel: dict[str, Any],
    role: str,
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    ada = InSlack("ada", "en-US")
    with capture_logs() as logged:
        await ada.come(settings, cluster, inference, clock)
        ada.fake.channel("C0ADMIN", members=["UADA"], **channel)
        await ada.bot.stop()
        ada.bot.settings = settings.model_copy(update={"admins": frozenset({"C0ADMIN"})})
        await ada.bot.start()
        await ada.type("whoami")
        await eventually(lambda: told(ada.fake, "UADA"))
    assert role in told(ada.fake, "UADA")[0]
    warned = [line for line in logged if line["event"] == "roles.channel_not_private"]
    assert [line["channel"] for line in warned] == ([] if role == "admin" else ["C0ADMIN"])
    doctor = Slack(
        phrases, "en", BOT_TOKEN, app_token=APP_TOKEN, url=ada.fake.url,
        role_members=["C0ADMIN", "S0ADMIN", "UADA"], changes=cluster.changes,
    )  # fmt: skip
    found = [(level, text.params.get("channel")) async for level, text, _ in doctor.check()]
    assert (("warn", "C0ADMIN") in found) is (role == "student")
    await ada.leave()


@pytest.mark.parametrize(("kind", "warns"), [("O", True), ("P", False)])
async def test_kind_11_a_public_channel_is_told_of_in_mattermost(
    mattermost: InMattermost, phrases: Phrasebook, kind: str, warns: bool
) -> None:
    channel = "c" * 26
    mattermost.fake.channel(channel, kind=kind)
    url = mattermost.url
    doctor = Mattermost(phrases, "en", url, TOKEN, role_members=[channel])
    found = [(level, text.params.get("channel")) async for level, text, _ in doctor.check()]
    assert (("warn", channel) in found) is warns


async def test_a_button_that_mattermost_did_not_give_to_a_person_does_nothing(
    mattermost: InMattermost, pass_time: PassTime
) -> None:
    fake: FakeMattermost = mattermost.fake
    await mattermost.type("deploy tinyllama")
    await eventually(lambda: mattermost.bot.cluster.workloads())
    await pass_time(200)
    await mattermost.reads("is ready")
    eve = next(user for user, info in fake.users.items() if info["username"] == "eve")
    [card] = [post for post in fake.posts.values() if "is ready" in post["message"]]
    before = len(fake.whispers)
    for label in ("Sleep", "Keep 4 h"):
        await fake.click(eve, card, label)
    await eventually(lambda: len(fake.whispers) >= before + 2)
    assert all(shown["text"].startswith("✕") for _, shown in fake.whispers[before:])
    elsewhere, _ = await fake.click(eve, card, "Sleep", channel_id="c2")
    assert elsewhere == 403
    [workload] = mattermost.bot.cluster.workloads()
    assert workload.replicas == 1 and workload.record.keep_until is None
