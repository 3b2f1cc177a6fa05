"""The App Home tab: each person's own, kept up to date while the person may be looking at it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from cachetools import TTLCache

from bot.core.changes import Listening
from bot.core.chat.errors import UserError
from bot.core.chat.message import Message, Place
from bot.core.chat.text import Say
from bot.platforms.shared.platform import Handle, last_reply
from bot.platforms.slack.people import SlackPeople
from bot.platforms.slack.render import blocks
from bot.platforms.slack.web import SlackRefused, SlackWeb

LOOKED_AT_SECONDS, PEOPLE_KEPT = 3600.0, 5000
REFRESH_SECONDS = 10.0
"""At most so often, however fast deployments change."""
NOWHERE = Place("slack", "")


class HomeTab:
    """The reply to `home` as a tab."""

    def __init__(
        self, web: SlackWeb, people: SlackPeople, handle: Handle, say_in: Callable[[str], Say]
    ) -> None:
        self._web, self._people, self._handle, self._say_in = web, people, handle, say_in
        self._changed = asyncio.Event()
        self._opened: TTLCache[str, str] = TTLCache(PEOPLE_KEPT, LOOKED_AT_SECONDS)
        """The workspaces of people who look at their tab, by person."""

    async def opened(self, user: str, team: str) -> None:
        """A person has opened the tab."""
        self._opened[user] = team
        await self._show(user, team)

    async def follow(self, changes: Listening) -> None:
        """Publish the open tabs again when a deployment has changed, until cancelled."""
        with changes as names:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._refresh())
                async for _ in names:
                    self._changed.set()

    async def _refresh(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for user in list(self._opened):
                await self._show(user, self._opened.get(user, ""))
            await asyncio.sleep(REFRESH_SECONDS)

    async def _show(self, user: str, team: str) -> None:
        with suppress(SlackRefused, UserError):
            person = await self._people.user(user, team)
            reply = await last_reply(self._handle(Message("home", person, NOWHERE)))
            if reply is not None:
                view = {"type": "home", "blocks": blocks(reply, self._say_in(person.locale))}
                await self._web.call("views.publish", user_id=user, view=view)
