"""The slash command, as `mattermost-setup` makes it."""

import pytest
import yaml
from pydantic import SecretStr

from bot.app.settings import Settings
from bot.cli.mattermost_setup import mattermost_setup
from tests.fakes.mattermost import TOKEN

BOT = "http://llm-bot.llm.svc:8080"


@pytest.fixture
def with_url(settings, server_url):
    where = {"mattermost_url": server_url[1], "mattermost_token": SecretStr(TOKEN)}
    return settings.model_copy(update=where | {"mattermost_callback_url": f"{BOT}/"})


async def test_the_command_is_made_once_and_its_secret_can_be_read_back(with_url, chat, capsys):
    for _ in range(2):
        assert await mattermost_setup(with_url) == 0
        told = capsys.readouterr()
        [command] = chat.commands.values()
        assert command["url"] == f"{BOT}/mattermost/command" and command["trigger"] == "llm"
        assert command["token"] not in told.err and "informatik: /llm reaches the bot" in told.err
    secret = yaml.safe_load(told.out)
    assert secret["metadata"] == {"name": "llm-bot-mattermost", "namespace": "demo"}
    tokens = {"mattermost_url": "http://x", "mattermost_token": "y"}
    given = secret["stringData"]["MATTERMOST_COMMAND_TOKENS"]
    read = Settings(_env_file=None, **tokens, mattermost_command_tokens=given)
    assert read.command_tokens == {"t1": command["token"]}


async def test_where_the_bot_may_not_an_admin_is_told_what_to_type(with_url, chat, capsys):
    chat.faults["may not"] = [True]
    assert await mattermost_setup(with_url) == 1
    told = capsys.readouterr()
    assert told.out == "" and "mmctl command create informatik --creator ADMIN" in told.err
    assert (
        f"--url {BOT}/mattermost/command --post" in told.err and "MATTERMOST_COMMAND_TOKENS=t1=" in told.err
    )
