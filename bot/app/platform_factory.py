"""The chat platforms whose settings are there."""

from collections.abc import AsyncIterator, Callable

from bot.app.http_server import Endpoint
from bot.app.settings import Settings
from bot.app.wiring import phrasebook
from bot.platforms.mattermost.adapter import Mattermost
from bot.platforms.slack.adapter import Slack


def slack(settings: Settings, changes: Callable[[], AsyncIterator[str]]) -> Slack | None:
    """Slack, if its tokens are there; without an app token by HTTP."""
    if not settings.slack_bot_token:
        return None
    return Slack(
        phrasebook(settings),
        settings.language,
        settings.slack_bot_token.get_secret_value(),
        app_token=settings.slack_app_token.get_secret_value(),
        signing_secret=settings.slack_signing_secret.get_secret_value(),
        url=settings.slack_api_url,
        named=settings.admins | settings.researchers,
        changes=changes,
    )


def mattermost(settings: Settings) -> Mattermost | None:
    """Mattermost, if its address and token are there."""
    if not settings.mattermost_token:
        return None
    return Mattermost(
        phrasebook(settings),
        settings.language,
        settings.mattermost_url,
        settings.mattermost_token.get_secret_value(),
        callback_url=settings.mattermost_callback_url,
        command_tokens=settings.command_tokens,
        ca_file=settings.mattermost_ca_file,
        named=settings.admins | settings.researchers,
    )


def endpoints(settings: Settings, slack: Slack | None, mattermost: Mattermost | None) -> dict[str, Endpoint]:
    """What chat servers call, by path."""
    called: dict[str, Endpoint] = {}
    if slack and not settings.slack_app_token:
        called["/slack/events"] = slack.endpoint
    if mattermost:
        called |= {f"/mattermost/{what}": mattermost.endpoint for what in ("command", "action", "dialog")}
    return called
