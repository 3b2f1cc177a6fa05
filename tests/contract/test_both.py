"""One bot in two chats: what is started in one is seen in the other."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio
from pydantic import SecretStr

from bot.app import background_jobs, platform_factory, wiring
from bot.app.settings import Settings, platform_settings_classes
from bot.engines.vllm.inference import VllmInference
from bot.platforms.shared.messengers import Messengers
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import Clock, PassTime, eventually
from tests.fakes.mattermost import TOKEN, FakeMattermost
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN, FakeSlack, words

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class Both(NamedTuple):
    """Both servers, and the bot at work."""

    slack: FakeSlack
    mattermost: FakeMattermost
    running: asyncio.Task[None]


@pytest_asyncio.fixture
async def both(
    settings: Settings,
    cluster: SimulatedCluster,
    inference: VllmInference,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Both]:
    """A bot that is in both."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    slack, mattermost = FakeSlack(), FakeMattermost()
    urls = {"slack_api_url": await slack.start(), "mattermost_url": await mattermost.start()}
    slack.channel("C1", members=[slack.person("UADA")])
    tokens = {"slack_bot_token": BOT_TOKEN, "slack_app_token": APP_TOKEN, "mattermost_token": TOKEN}
    secrets = {name: SecretStr(token) for name, token in tokens.items()}
    own = {
        name: kind.model_validate({key: value for key, value in {**secrets, **urls}.items() if name in key})
        for name, kind in platform_settings_classes().items()
    }
    platforms = platform_factory.create(settings, own, cluster.changes)
    built = wiring.build(settings, cluster, inference, Messengers(platforms), clock)
    running = asyncio.create_task(background_jobs.serve(settings, built, platforms))
    await eventually(lambda: all(platform.ready for platform in platforms))
    yield Both(slack, mattermost, running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await slack.stop()
    await mattermost.stop()


async def test_what_is_deployed_in_slack_is_in_the_status_of_mattermost(
    both: Both, pass_time: PassTime
) -> None:
    slack, mattermost, _ = both
    await slack.command("UADA", "deploy tinyllama")
    await eventually(lambda: slack.posted("C1"))
    await pass_time(200)
    await eventually(lambda: "is ready" in words(slack.posted("C1")[0]))
    eve = mattermost.person("eve")
    direct = f"d{eve}"[:26]
    asked = mattermost.say(eve, "status", direct)
    await eventually(lambda: mattermost.posted(direct, asked))
    told = mattermost.posted(direct, asked)[0]["message"]
    assert "tinyllama" in told and "| ready |" in told and "ada" in told


async def test_both_end_in_order_when_the_bot_is_told_to(both: Both) -> None:
    slack, mattermost, running = both
    await slack.connected(2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await eventually(lambda: not slack.sockets and not mattermost.sockets)
