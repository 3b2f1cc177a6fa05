"""App Home: everybody's own, kept up to date while somebody may look at it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from time import monotonic

from bot.core.chat.errors import UserError
from bot.core.chat.message import Message, Place
from bot.core.chat.text import Say
from bot.platforms.shared.platform import Handle, last_reply
from bot.platforms.slack.people import SlackPeople
from bot.platforms.slack.render import blocks
from bot.platforms.slack.web import SlackRefused, Web

LOOKED_AT_SECONDS = 3600.0
EVERY = 10.0
NOWHERE = Place("slack", "")


class Home:
    """The reply to `home` as a tab."""

    def __init__(self, web: Web, people: SlackPeople, handle: Handle, say_in: Callable[[str], Say]) -> None:
        self._web, self._people, self._handle, self._say_in = web, people, handle, say_in
        self._changed = asyncio.Event()
        self._opened: dict[str, tuple[str, float]] = {}

    async def opened(self, user: str, team: str) -> None:
        """Somebody looks at it."""
        self._opened[user] = (team, monotonic())
        await self._show(user, team)

    async def follow(self, changes: AsyncIterator[str]) -> None:
        """Show everybody's again when something changed, for ever; what changes fast, now and then."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._refresh())
            async for _ in changes:
                self._changed.set()

    async def _refresh(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            now = monotonic()
            self._opened = {u: seen for u, seen in self._opened.items() if now - seen[1] < LOOKED_AT_SECONDS}
            for user, (team, _) in list(self._opened.items()):
                await self._show(user, team)
            await asyncio.sleep(EVERY)

    async def _show(self, user: str, team: str) -> None:
        with suppress(SlackRefused, UserError):
            person = await self._people.user(user, team)
            reply = await last_reply(self._handle(Message("home", person, NOWHERE)))
            if reply is not None:
                view = {"type": "home", "blocks": blocks(reply, self._say_in(person.locale))}
                await self._web.call("views.publish", user_id=user, view=view)
