"""Makes or updates the slash command `/llm` in every team of the bot, where the bot may."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from bot.platforms.mattermost.rest import MattermostRefused, RestClient

TRIGGER = "llm"


@dataclass(frozen=True, slots=True)
class Registered:
    """The command of a team; without a token, why the bot may not make it."""

    team: str
    name: str
    token: str = ""
    why: str = ""


async def register(rest: RestClient, url: str, hint: str) -> AsyncIterator[Registered]:
    """For each team; MattermostRefused when the server does not even say which those are."""
    wanted = {
        "trigger": TRIGGER,
        "method": "P",
        "url": url,
        "display_name": "llm-bot",
        "auto_complete": True,
        "auto_complete_desc": "llm-bot",
        "auto_complete_hint": hint,
    }
    for team in await rest.api.teams.get_user_teams("me"):
        try:
            made = await _register(rest, wanted | {"team_id": team["id"]})
            yield Registered(team["id"], team["name"], token=str(made["token"]))
        except MattermostRefused as error:
            yield Registered(team["id"], team["name"], why=error.code)


async def _register(rest: RestClient, wanted: dict[str, Any]) -> dict[str, Any]:
    commands = rest.api.commands
    known = await commands.list_commands_for_team({"team_id": wanted["team_id"], "custom_only": "true"})
    for command in known:
        if command["trigger"] == TRIGGER:
            changed = command | wanted  # the driver's own update asks a wrong address
            return dict(await rest.client.put(f"/commands/{command['id']}", options=changed))
    return dict(await commands.create_command(wanted))
