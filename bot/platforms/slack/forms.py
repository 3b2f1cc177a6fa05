"""Forms: what the command would do is shown while a form is filled in, and a refusal keeps what was filled
in."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from cachetools import TTLCache

from bot.core.chat.errors import UserError
from bot.core.chat.form import filled_line
from bot.core.chat.message import Message
from bot.core.chat.text import Say
from bot.platforms.shared.inbound import Body
from bot.platforms.shared.platform import Handle, last_reply
from bot.platforms.shared.presenter import Origin
from bot.platforms.slack import modal
from bot.platforms.slack.inbound import SlackInbound
from bot.platforms.slack.people import SlackPeople
from bot.platforms.slack.web import SlackRefused, SlackWeb

FORMS_KEPT, FORM_SECONDS = 1000, 3600.0
"""How many open forms are remembered, and how long."""


class Forms:
    """A form that is submitted runs as a typed command."""

    def __init__(
        self,
        web: SlackWeb,
        people: SlackPeople,
        inbound: SlackInbound,
        handle: Handle,
        say_in: Callable[[str], Say],
    ) -> None:
        self._web, self._people, self._inbound = web, people, inbound
        self._handle, self._say_in = handle, say_in
        self._checks: TTLCache[str, object] = TTLCache(FORMS_KEPT, FORM_SECONDS)
        """The latest check of each form that is open, by its view."""

    async def recheck(self, view: Body, user: str, team: str) -> None:
        """A field changed: show in the form what the command would do."""
        with suppress(UserError):  # the bot is not for them any more
            await self._recheck(view, user, team)

    async def _recheck(self, view: Body, user: str, team: str) -> None:
        filled, values = modal.read(view)
        if not filled.check or not all(values.get(name) for name in filled.required):
            return
        latest = self._checks[view["id"]] = object()
        person = await self._people.user(user, team)
        check = Message(modal.checking(filled, values), person, filled.place)
        note = await last_reply(self._handle(check))
        if note is None or self._checks.get(view["id"]) is not latest:  # a later change is shown instead
            return
        updated = modal.with_note(view, note, self._say_in(person.locale))
        with suppress(SlackRefused):  # the form is closed
            await self._web.call("views.update", view_id=view["id"], view=updated)
        if self._checks.get(view["id"]) is latest:
            self._checks.pop(view["id"])

    async def submit(self, view: Body, user: str, origin: Origin, ack: Callable[..., Awaitable[Any]]) -> None:
        """The form was submitted: a refusal is shown in it, anything else closes it."""
        filled, values = modal.read(view)
        line = filled_line(filled.line, filled.required, values)
        wrong, say = await self._inbound.submit_form(line, user, filled.place, origin)
        if wrong is None:
            await ack()
        else:
            await ack(response_action="update", view=modal.with_note(view, wrong, say))
