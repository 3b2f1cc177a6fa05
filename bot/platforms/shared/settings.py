"""What the settings of every chat platform have in common."""

from abc import abstractmethod

from pydantic_settings import BaseSettings, SettingsConfigDict


class PlatformSettings(BaseSettings):
    """Settings of one platform, read from the environment or `.env` like all others; subclasses add fields,
    each named like its environment variable in lower case, and beginning with the platform's name."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    @property
    @abstractmethod
    def configured(self) -> bool:
        """Whether the bot is to be on this platform."""
