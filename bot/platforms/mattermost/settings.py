"""Settings of Mattermost: a bot account, and how the server reaches the bot."""

import ssl
from typing import Self

from pydantic import SecretStr, model_validator
from pydantic_core import PydanticCustomError

from bot.core.written_forms import HttpUrl
from bot.platforms.shared.settings import PlatformSettings


class MattermostSettings(PlatformSettings):
    """Without a token there is no Mattermost."""

    mattermost_url: HttpUrl = ""
    mattermost_token: SecretStr = SecretStr("")
    mattermost_command_tokens: SecretStr = SecretStr("")
    mattermost_callback_url: HttpUrl = ""
    mattermost_ca_file: str = ""

    @property
    def configured(self) -> bool:
        """There is a token."""
        return bool(self.mattermost_token)

    @property
    def command_tokens(self) -> dict[str, str]:
        """Tokens of the slash command by the team's id; an empty token marks a pair that was mistyped."""
        typed = self.mattermost_command_tokens.get_secret_value().replace(",", " ").split()
        pairs = [word.partition("=") for word in typed]
        return {team: token if team else "" for team, _, token in pairs}

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        """MATTERMOST_URL and MATTERMOST_TOKEN go together, and certificates must be readable."""
        if bool(self.mattermost_url) != bool(self.mattermost_token):
            raise PydanticCustomError("mattermost", "set MATTERMOST_URL and MATTERMOST_TOKEN together")
        if not all(self.command_tokens.values()):  # the value itself is a secret: it is not shown
            raise PydanticCustomError("mattermost", "MATTERMOST_COMMAND_TOKENS: write team=token, team=token")
        try:
            ssl.create_default_context(cafile=self.mattermost_ca_file or None)
        except OSError as error:
            why = "MATTERMOST_CA_FILE holds no certificates: {why}"
            raise PydanticCustomError("mattermost", why, {"why": str(error)}) from None
        return self
