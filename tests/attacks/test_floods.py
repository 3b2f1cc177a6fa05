"""One person sends 2,000 messages: everybody else is answered as if nobody did, and they are told once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from time import monotonic

import pytest
import pytest_asyncio

from bot.app.settings import Settings
from bot.core.chat.errors import UserError
from bot.engines.vllm.inference import VllmInference
from bot.services.questions.question_limits import OF_A_MODEL, OF_A_PERSON, QuestionLimits
from bot.simulator.cluster import SimulatedCluster
from bot.simulator.server import SimulatedServer
from tests.conftest import Clock, PassTime, eventually
from tests.fakes.mattermost import FakeMattermost
from tests.fakes.slack import BOT, FakeSlack, words
from tests.platforms.mattermost import conftest as of_mattermost
from tests.platforms.slack import conftest as of_slack

MESSAGES, AT_ONCE = 2000, 100
"""How many; and how many Slack sends before the first of them is acknowledged."""
SECONDS = 1.0
"""So soon another person's `status` is to be answered. The test allows more: machines that test are busy."""
ALLOWED = 10 * SECONDS


@pytest_asyncio.fixture
async def slack(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: Clock
) -> AsyncIterator[FakeSlack]:
    """A workspace with the bot in it."""
    fake = FakeSlack()
    await fake.start()
    fake.tiers = False
    for user in ("UADA", "UEVE"):
        fake.person(user)
    fake.channel("C1", members=["UADA", "UEVE"])
    bot = of_slack.Bot(settings, fake, cluster, inference, clock)
    await bot.start()
    yield fake
    await bot.stop()
    await fake.stop()


@pytest_asyncio.fixture
async def mattermost(
    settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: Clock
) -> AsyncIterator[FakeMattermost]:
    """A server with the bot on it."""
    fake = FakeMattermost()
    url = await fake.start()
    fake.channel("c1", members=[fake.person("ada"), fake.person("eve")])
    bot = of_mattermost.Bot(settings, url, cluster, inference, clock)
    await bot.start(fake)
    yield fake
    await bot.stop()
    await fake.stop()


async def answered(chat: FakeSlack | FakeMattermost, asked: str) -> None:
    """Until the thread of a message has a reply."""
    channel = "C1" if isinstance(chat, FakeSlack) else "c1"
    await eventually(lambda: chat.posted(channel, asked))


@pytest.mark.parametrize("line", ["status", "ask tinyllama go on", "depoly"])
async def test_kind_10_status_of_another_is_answered_at_once_in_slack(slack: FakeSlack, line: str) -> None:
    sending = asyncio.Semaphore(AT_ONCE)

    async def say() -> None:
        async with sending:
            await slack.say("UEVE", f"<@{BOT}> {line}")

    flood = [asyncio.create_task(say()) for _ in range(MESSAGES)]
    await eventually(lambda: len(slack.messages) > AT_ONCE)
    took = []
    for _ in range(5):
        begun = monotonic()
        await answered(slack, await slack.say("UADA", f"<@{BOT}> status"))
        took.append(monotonic() - begun)
    print("slack", line, took)
    assert max(took) < ALLOWED
    await asyncio.gather(*flood)
    told = [words(whisper) for whisper in slack.whispers if whisper["user"] == "UEVE"]
    assert sum("of your requests are already" in text for text in told) == 1
    assert not slack.unacknowledged


@pytest.mark.parametrize("line", ["status", "ask tinyllama go on", "depoly"])
async def test_kind_10_status_of_another_is_answered_at_once_in_mattermost(
    mattermost: FakeMattermost, line: str
) -> None:
    ada, eve = (of_mattermost.who(mattermost, name) for name in ("ada", "eve"))
    for _ in range(MESSAGES):
        mattermost.say(eve, f"@llm {line}")
    took = []
    for _ in range(5):
        begun = monotonic()
        await answered(mattermost, mattermost.say(ada, "@llm status"))
        took.append(monotonic() - begun)
    print("mattermost", line, took)
    assert max(took) < ALLOWED
    told = [post["message"] for post in mattermost.posts.values() if post["user_id"] != eve]
    assert sum("of your requests are already" in text for text in told) == 1


async def test_kind_10_questions_of_one_person_and_to_one_model_are_counted() -> None:
    limits = QuestionLimits()
    with ExitStack() as asking:
        for number in range(OF_A_MODEL):
            assert asking.enter_context(limits.asking("m", f"p{number // OF_A_PERSON}"))
        for person, sentence in (("p0", "ask.yours"), ("p99", "ask.full")):
            with pytest.raises(UserError) as refused, limits.asking("m", person):
                pass
            assert refused.value.text.key == sentence
        with limits.asking("m", "p0") as admitted:
            assert not admitted, "told a moment ago"
        with limits.asking("another", "p99") as admitted:
            assert admitted
    for person in ("p0", "p99"):
        with limits.asking("m", person) as admitted:
            assert admitted


async def test_kind_10_300_questions_of_one_person_leave_the_connections_to_others(
    slack: FakeSlack, cluster: SimulatedCluster, server: SimulatedServer, pass_time: PassTime
) -> None:
    await slack.command("UADA", "deploy tinyllama")
    await eventually(lambda: slack.posted("C1"))
    await pass_time(200)
    await eventually(lambda: any("is ready" in words(m) for m in slack.posted("C1")))
    server.pause = 3600
    await asyncio.gather(*(slack.command("UEVE", "ask tinyllama go on") for _ in range(300)))
    await eventually(lambda: server.running["tinyllama"] == OF_A_PERSON)
    told = [words(whisper) for whisper in slack.whispers if whisper["user"] == "UEVE"]
    assert sum("of your questions are already" in text for text in told) == 1
    await slack.command("UADA", "ask tinyllama hello")
    await eventually(lambda: server.running["tinyllama"] == OF_A_PERSON + 1)
