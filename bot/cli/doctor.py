"""`python -m bot doctor`: one line per check, ok, warn or fail, and what to do."""

from collections.abc import AsyncIterator

from bot.app import platform_factory, wiring
from bot.app.engines import ENGINE
from bot.app.settings import PlatformSettingsByName, Settings
from bot.cli.shell import speaker
from bot.cluster.rights import examine
from bot.core.changes import Changes
from bot.core.chat.characters import visible
from bot.core.chat.text import t
from bot.core.finding import Finding


async def doctor(settings: Settings, platform_settings: PlatformSettingsByName) -> int:
    """Look at everything, change nothing; 1 if something fails."""
    say = speaker(settings)
    worst = "ok"
    async for level, text, todo in _findings(settings, platform_settings):
        print(visible(f"{level:<5} {say(text)}" + (f" → {say(todo)}" if todo else "")))
        worst = "fail" if "fail" in (level, worst) else worst
    return 1 if worst == "fail" else 0


async def _findings(settings: Settings, platform_settings: PlatformSettingsByName) -> AsyncIterator[Finding]:
    yield "ok", t("doctor.settings"), None
    async for finding in examine(settings.kubeconfig, wiring.workload_settings(settings), ENGINE):
        yield finding
    platforms = platform_factory.create(settings, platform_settings, Changes().listening)
    for platform in platforms:
        async for finding in platform.check():
            yield finding
    if not platforms:
        yield "warn", t("doctor.chat_none"), t("doctor.chat_todo")
