"""`python -m bot doctor`: one line per check, ok, warn or fail, and what to do."""

from collections.abc import AsyncIterator

from bot.app import platform_factory, wiring
from bot.app.settings import Settings
from bot.cli.offline import speaker
from bot.cluster.rights import Finding, examine
from bot.core.changes import Changes
from bot.core.chat.text import t


async def doctor(settings: Settings) -> int:
    """Look at everything, change nothing; 1 if something fails."""
    say = speaker(settings)
    worst = "ok"
    async for level, text, todo in _findings(settings):
        print(f"{level:<5} {say(text)}" + (f" → {say(todo)}" if todo else ""))
        worst = "fail" if "fail" in (level, worst) else worst
    return 1 if worst == "fail" else 0


async def _findings(settings: Settings) -> AsyncIterator[Finding]:
    yield "ok", t("doctor.settings"), None
    async for finding in examine(settings.kubeconfig, wiring.workload_settings(settings)):
        yield finding
    found = (platform_factory.slack(settings, Changes().listen), platform_factory.mattermost(settings))
    for chat in found:
        if chat is not None:
            async for finding in chat.examine():
                yield finding
    if not any(found):
        yield "warn", t("doctor.chat_none"), t("doctor.chat_todo")
