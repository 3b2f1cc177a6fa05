"""The chat platforms that settings configure: whatever folders of `bot/platforms/` there are."""

from collections.abc import Callable
from importlib import import_module

from bot.app.settings import PlatformSettingsByName, Settings
from bot.app.wiring import phrasebook
from bot.core.changes import Listening
from bot.platforms.shared.platform import Endpoint, Platform, Surroundings


def create(
    settings: Settings,
    platform_settings: PlatformSettingsByName,
    changes: Callable[[], Listening],
) -> list[Platform]:
    """One of each that is configured; `changes` hears the names of deployments as they change."""
    surroundings = Surroundings(
        phrasebook(settings), settings.language, settings.admins | settings.researchers, changes
    )
    return [_create(name, own, surroundings) for name, own in platform_settings.items() if own.configured]


def _create(name: str, settings: object, surroundings: Surroundings) -> Platform:
    platform = import_module(f"bot.platforms.{name}.factory").create(settings, surroundings)
    assert isinstance(platform, Platform)
    return platform


def endpoints(platforms: list[Platform]) -> dict[str, Endpoint]:
    """What chat servers call by POST, by path."""
    return {path: endpoint for platform in platforms for path, endpoint in platform.endpoints.items()}
