"""Replies in Mattermost: posts, private replies, dialogs, and answers that grow."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from time import monotonic

import structlog

from bot.core.chat.form import Form
from bot.core.chat.message import Message, Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import Say, Text, t
from bot.platforms.mattermost.buttons import with_commands
from bot.platforms.mattermost.context import MattermostContext, send
from bot.platforms.mattermost.posts import MEMORY
from bot.platforms.mattermost.render import LOG, LONGEST, cut, render
from bot.platforms.mattermost.rest import MattermostRefused
from bot.platforms.shared.edits import Payload
from bot.platforms.shared.pagination import Pages
from bot.platforms.shared.platform import Refused
from bot.platforms.shared.presenter import Origin, Presenter
from bot.platforms.shared.sanitize import SanitizedStream
from bot.platforms.shared.threads import answer_event

FOOTNOTE = 300
TYPING_SECONDS = 4.0
FIRST, SLOWEST, PER_CHARACTER = 1.0, 2.0, 1e-4
"""Seconds between two states of an answer: the longer it is the rarer, as each edit sends all of it."""
BLANK = 40
"""Characters after which an answer is shown that has no word yet: so it can be stopped."""
FINAL_PAUSES = (0.0, 5.0, 20.0)

log = structlog.get_logger()


class MattermostPresenter(Presenter):
    """Shows the replies to one message."""

    def __init__(self, context: MattermostContext, message: Message, origin: Origin, say: Say) -> None:
        super().__init__(context.threads, context.edits, message, origin, say)
        self._context, self._rest = context, context.rest

    async def show_waiting(self) -> None:
        """Show that the bot is typing."""
        while True:
            await self._rest.show_typing(self._place.channel, self._place.thread)
            await asyncio.sleep(TYPING_SECONDS)

    async def open_form(self, form: Form) -> bool:
        """As a dialog, if Mattermost can call us back."""
        buttons = self._context.buttons
        if not buttons.url:
            return False
        dialog = buttons.dialog(form, self._user.id, self._place, self._say)
        try:
            await self._rest.open_dialog(self._origin.trigger, dialog)
        except MattermostRefused:
            return False
        return True

    def draw(self, reply: Reply) -> Payload:
        """Markdown and buttons; a question that waits has a button to give up."""
        post = self._context.buttons.payload(reply, self._say, self._place)
        if reply.question and not reply.answer:
            post["props"] = {**self._stop(), MEMORY: self.metadata(reply)}
        return post

    def _stop(self) -> Payload:
        return self._context.buttons.stop(self._origin.key, self._say, self._place)

    def begin_answer(self, message: str) -> "MattermostAnswer":
        """In the thread, with a button that stops it."""
        return MattermostAnswer(self._context, self._place, self._say, self._stop(), message)

    async def post(self, reply: Reply) -> str:
        """Make a post; a long log is attached as a file."""
        self._context.answer_call(self._origin.key, None)
        if reply.question:
            return await self._rest.create_post(self._place.channel, self._place.thread, self.draw(reply))
        return await send(self._context, self._place, reply, self._say)

    async def post_picture(self, reply: Reply) -> None:
        """Make a post of the picture alone: files cannot be added to a post."""
        if reply.picture:
            shown = Reply(reply.picture.alt, picture=reply.picture)
            await send(self._context, self._place, shown, self._say)

    async def reply_privately(self, reply: Reply) -> None:
        """As the answer to the call that the request came with; else as a direct message."""
        if len(reply.log) > LOG:
            await self._send_directly(reply)
            reply = replace(reply, log="", lines=(*reply.lines, t("chat.log_sent")))
        if not self._origin.answer_to:
            if not self._context.answer_call(self._origin.key, {"message": with_commands(reply, self._say)}):
                await self._send_directly(reply)
        elif not self._context.answer_call(self._origin.key, self.draw(reply)):
            try:
                await self._rest.respond(self._origin.answer_to, self.draw(reply))
            except MattermostRefused:
                await self._send_directly(reply)

    async def _send_directly(self, reply: Reply) -> None:
        direct = Place("mattermost", await self._rest.open_direct_channel(self._user.id))
        await send(self._context, direct, reply, self._say)


class MattermostAnswer:
    """A growing answer. `message` is a post that becomes the answer, or empty; whatever fails meanwhile, the
    whole answer is there in the end."""

    def __init__(
        self, context: MattermostContext, place: Place, say: Say, stop: Payload, message: str
    ) -> None:
        self._context, self._place, self._say, self._stop = context, place, say, stop
        self._safe, self._pages = SanitizedStream(), Pages(LONGEST - FOOTNOTE)
        self._message, self._page, self._added = message, 0, 0
        self._shown, self._reply, self._shown_at = "", Reply(), 0.0
        self._showing: asyncio.Task[None] | None = None

    def show(self, reply: Reply) -> None:
        """The answer so far; the post is edited every second or two."""
        self._reply = reply
        self._pages.add(self._safe.add(reply.answer[self._added :]))
        self._added = len(reply.answer)
        pause = min(SLOWEST, FIRST + PER_CHARACTER * len(self._pages.pages[-1]))
        idle = self._showing is None or self._showing.done()
        if idle and monotonic() - self._shown_at > pause:
            self._shown_at = monotonic()
            self._showing = asyncio.create_task(self._show_pages())

    async def finish(self, footnote: Text | None) -> None:
        """Write the whole answer, with a footnote."""
        if self._showing is not None:
            await self._showing
        self._pages.add(self._safe.add("", last=True))
        while self._page < len(self._pages.pages) - 1:
            await self._finish_page(None)
        await self._finish_page(footnote)

    async def _show_pages(self) -> None:
        try:
            while self._page < len(self._pages.pages) - 1:
                await self._finish_page(None)
            page = self._pages.pages[self._page]
            begun = page.strip() or len(page) > BLANK or (not page and self._reply.answer.strip())
            if begun and (page != self._shown or not self._message):
                shown = cut(render(Reply(answer=page), self._say))
                await self._write(shown, self._stop, new=not self._message)
                self._shown = page
        except Refused as error:
            log.warning("answer.delayed", why=error.code)

    async def _finish_page(self, footnote: Text | None) -> None:
        """Write the current page as final, with what it holds of the conversation; go on to the next one."""
        page, reply = self._pages.pages[self._page], self._reply
        event = answer_event(reply.question, reply.workload, self._page) | {"markdown": page}
        shown = cut(render(Reply(answer=page, footnote=footnote), self._say))
        for pause in FINAL_PAUSES:
            await asyncio.sleep(pause)
            with suppress(Refused):
                await self._write(shown, {MEMORY: event}, new=True)
                break
        else:
            log.warning("answer.incomplete")
        self._page, self._message, self._shown = self._page + 1, "", ""

    async def _write(self, text: str, props: Payload, *, new: bool) -> None:
        """Edit the current post; make a new one if there is none, or it can no longer be edited."""
        payload = {"message": text, "props": props}
        channel, thread = self._place.channel, self._place.thread
        if self._message and await self._context.edits.send(channel, self._message, payload):
            return
        if new:
            self._message = await self._context.rest.create_post(channel, thread, payload)
