"""The slash command, as `mattermost-setup` makes it."""

import pytest
import yaml
from pydantic import SecretStr

from bot.app.settings import Settings
from bot.cli.mattermost_setup import mattermost_setup
from bot.platforms.mattermost.settings import MattermostSettings
from bot.platforms.shared.settings import PlatformSettings
from tests.fakes.mattermost import TOKEN, FakeMattermost

BOT = "http://llm-bot.llm.svc:8080"
Own = dict[str, PlatformSettings]


@pytest.fixture
def own(server_url: tuple[FakeMattermost, str]) -> Own:
    settings = MattermostSettings(
        _env_file=None,
        mattermost_url=server_url[1],
        mattermost_token=SecretStr(TOKEN),
        mattermost_callback_url=f"{BOT}/",
    )
    return {"mattermost": settings}


async def test_the_command_is_made_once_and_its_secret_can_be_read_back(
    settings: Settings, own: Own, chat: FakeMattermost, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert await mattermost_setup(settings, own) == 0
        told = capsys.readouterr()
        [command] = chat.commands.values()
        assert command["url"] == f"{BOT}/mattermost/command" and command["trigger"] == "llm"
        assert command["token"] not in told.err and "informatik: /llm reaches the bot" in told.err
    secret = yaml.safe_load(told.out)
    assert secret["metadata"] == {"name": "llm-bot-mattermost", "namespace": "demo"}
    given = secret["stringData"]["MATTERMOST_COMMAND_TOKENS"]
    read = MattermostSettings(
        _env_file=None,
        mattermost_url="http://x",
        mattermost_token=SecretStr("y"),
        mattermost_command_tokens=given,
    )
    assert read.command_tokens == {"t1": command["token"]}


async def test_where_the_bot_may_not_an_admin_is_told_what_to_type(
    settings: Settings, own: Own, chat: FakeMattermost, capsys: pytest.CaptureFixture[str]
) -> None:
    chat.faults["may not"] = [True]
    assert await mattermost_setup(settings, own) == 1
    told = capsys.readouterr()
    assert told.out == "" and "mmctl command create informatik --creator ADMIN" in told.err
    assert (
        f"--url {BOT}/mattermost/command --post" in told.err and "MATTERMOST_COMMAND_TOKENS=t1=" in told.err
    )
