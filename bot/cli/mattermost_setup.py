"""`python -m bot mattermost-setup`: makes the slash command, and prints the Secret with its tokens."""

import shlex
import sys

import yaml

from bot.app import platform_factory
from bot.app.settings import PlatformSettingsByName, Settings
from bot.cli.shell import speaker
from bot.commands import COMMANDS
from bot.core.changes import Changes
from bot.core.chat.errors import UserError
from bot.core.chat.text import t
from bot.platforms.mattermost.adapter import Mattermost
from bot.platforms.mattermost.settings import MattermostSettings
from bot.platforms.mattermost.setup import TRIGGER, Registered

DONE, BY_AN_ADMIN = 0, 1
HINT = "|".join(verb for verb in COMMANDS if verb in ("deploy", "ask", "status", "stop", "help"))


async def mattermost_setup(settings: Settings, platform_settings: PlatformSettingsByName) -> int:
    """The Secret goes to stdout, all else to stderr; 1 if an admin has to make a command."""
    say, own = speaker(settings), platform_settings[Mattermost.name]
    assert isinstance(own, MattermostSettings)
    if not own.configured or not own.mattermost_callback_url:
        raise UserError(t("setup.missing"))
    [chat] = platform_factory.create(settings, {Mattermost.name: own}, Changes().listening)
    assert isinstance(chat, Mattermost)
    url = f"{own.mattermost_callback_url.rstrip('/')}/mattermost/command"
    teams = [team async for team in chat.register(url, HINT)]
    for team in teams:
        if team.token:
            told = [say(t("setup.done", team=team.name))]
        else:
            told = [say(t("setup.not_allowed", team=team.name, why=team.why)), *_by_hand(team, url)]
        print(*told, sep="\n  ", file=sys.stderr)
    tokens = {team.team: team.token for team in teams if team.token}
    if tokens:
        print(_secret(tokens, settings.namespace), end="")
    if not teams:
        print(say(t("setup.no_team")), file=sys.stderr)
    return DONE if teams and len(tokens) == len(teams) else BY_AN_ADMIN


def _by_hand(team: Registered, url: str) -> list[str]:
    """What an admin types, and where the token that it prints belongs."""
    line = ["mmctl", "command", "create", team.name, "--creator", "ADMIN", "--title", "llm-bot"]
    line += ["--trigger-word", TRIGGER, "--url", url, "--post", "--autocomplete", "--autocompleteHint", HINT]
    return [shlex.join(line), f"MATTERMOST_COMMAND_TOKENS={team.team}=TOKEN"]


def _secret(tokens: dict[str, str], namespace: str) -> str:
    """Read by the bot's pod, if it is there (manifests/bot/deployment.yaml)."""
    told = ",".join(f"{team}={token}" for team, token in tokens.items())
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "llm-bot-mattermost", "namespace": namespace},
            "stringData": {"MATTERMOST_COMMAND_TOKENS": told},
        },
        sort_keys=False,
    )
