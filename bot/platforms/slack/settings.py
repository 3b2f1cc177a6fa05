"""Settings of Slack: two tokens for Socket Mode, or a token and the signing secret for HTTP."""

from typing import Annotated, Self

from pydantic import SecretStr, model_validator
from pydantic_core import PydanticCustomError

from bot.core.written_forms import like
from bot.platforms.shared.settings import PlatformSettings

SlashedUrl = Annotated[str, like(r"https?://\S+/", "begins with http:// or https:// and ends with /")]


class SlackSettings(PlatformSettings):
    """Without a bot token there is no Slack."""

    slack_bot_token: SecretStr = SecretStr("")
    slack_app_token: SecretStr = SecretStr("")
    slack_signing_secret: SecretStr = SecretStr("")
    slack_api_url: SlashedUrl = "https://slack.com/api/"

    @property
    def configured(self) -> bool:
        """There is a bot token."""
        return bool(self.slack_bot_token)

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        """A bot token needs an app token or a signing secret: without a signature anybody could give
        commands."""
        token, ways = self.slack_bot_token, (self.slack_app_token, self.slack_signing_secret)
        if token and not any(ways):
            needs = "also set SLACK_APP_TOKEN (Socket Mode) or SLACK_SIGNING_SECRET (HTTP)"
            raise PydanticCustomError("slack", f"SLACK_BOT_TOKEN: {needs}")
        if any(ways) and not token:
            raise PydanticCustomError("slack", "SLACK_BOT_TOKEN is missing beside the others of Slack")
        return self
