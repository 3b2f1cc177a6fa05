"""Settings → Slack."""

from bot.platforms.shared.platform import Surroundings
from bot.platforms.slack.adapter import Slack
from bot.platforms.slack.settings import SlackSettings


def create(settings: SlackSettings, surroundings: Surroundings) -> Slack:
    """By Socket Mode; without an app token by HTTP."""
    return Slack(
        surroundings.phrases,
        surroundings.language,
        settings.slack_bot_token.get_secret_value(),
        app_token=settings.slack_app_token.get_secret_value(),
        signing_secret=settings.slack_signing_secret.get_secret_value(),
        url=settings.slack_api_url,
        role_members=surroundings.role_members,
        changes=surroundings.changes,
    )
