"""Forms: what would happen is said while they are filled in, and a refusal loses nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from bot.core.errors import UserError
from bot.core.form import typed
from bot.core.message import Message
from bot.core.reply import Tone
from bot.platforms.base import Handle, Say, last_reply, next_reply
from bot.platforms.ears import Body, refusal
from bot.platforms.slack import modal
from bot.platforms.slack.ears import SlackEars
from bot.platforms.slack.people import People
from bot.platforms.slack.web import SlackRefused, Web
from bot.platforms.talk import Origin

SUBMIT_SECONDS = 2.0
"""Slack waits three; a command that has said nothing bad by then is on its way."""


class Forms:
    """What is filled in is a typed command."""

    def __init__(
        self, web: Web, people: People, ears: SlackEars, handle: Handle, say_in: Callable[[str], Say]
    ) -> None:
        self._web, self._people, self._ears = web, people, ears
        self._handle, self._say_in = handle, say_in
        self._checks: dict[str, object] = {}

    async def recheck(self, view: Body, user: str, team: str) -> None:
        """A form changed: say in it what would happen."""
        filled, values = modal.read(view)
        if not filled.check or not all(values.get(name) for name in filled.required):
            return
        latest = self._checks[view["id"]] = object()
        person = await self._people.user(user, team)
        asked = Message(modal.checking(filled, values), person, filled.place)
        note = await last_reply(self._handle(asked))
        if note is None or self._checks.get(view["id"]) is not latest:  # a later change is shown instead
            return
        updated = modal.with_note(view, note, self._say_in(person.locale))
        with suppress(SlackRefused):  # the form is closed
            await self._web.call("views.update", view_id=view["id"], view=updated)
        if self._checks.get(view["id"]) is latest:
            del self._checks[view["id"]]

    async def submit(self, view: Body, user: str, origin: Origin, ack: Callable[..., Awaitable[Any]]) -> None:
        """A form was sent: a refusal is said in it and loses nothing, all else closes it."""
        filled, values = modal.read(view)
        say = self._say_in("")
        try:
            person = await self._people.user(user, origin.team)
            say = self._say_in(person.locale)
            place, origin = await self._ears.placed(filled.place, person, origin)
        except UserError as error:
            await ack(response_action="update", view=modal.with_note(view, refusal(error), say))
            return
        message = Message(typed(filled.line, filled.required, values), person, place)
        replies = self._handle(message)
        first = asyncio.ensure_future(next_reply(replies, None))
        await asyncio.wait({first}, timeout=SUBMIT_SECONDS)
        reply = first.result() if first.done() else None
        if reply is not None and reply.private and reply.tone is Tone.FAILED:
            await replies.aclose()
            await ack(response_action="update", view=modal.with_note(view, reply, say))
        else:
            await ack()
            self._ears.start(self._ears.converse(message, origin, replies, first))
