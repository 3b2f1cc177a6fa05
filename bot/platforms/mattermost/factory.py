"""Settings → Mattermost."""

from bot.platforms.mattermost.adapter import Mattermost
from bot.platforms.mattermost.settings import MattermostSettings
from bot.platforms.shared.platform import Surroundings


def create(settings: MattermostSettings, surroundings: Surroundings) -> Mattermost:
    """By its websocket and its REST API."""
    return Mattermost(
        surroundings.phrases,
        surroundings.language,
        settings.mattermost_url,
        settings.mattermost_token.get_secret_value(),
        callback_url=settings.mattermost_callback_url,
        command_tokens=settings.command_tokens,
        ca_file=settings.mattermost_ca_file,
        role_members=surroundings.role_members,
    )
