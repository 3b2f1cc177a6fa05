"""Replies in Mattermost: posts, direct messages for what is private, and answers that grow."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic

import structlog

from bot.core.form import Form
from bot.core.message import Message, Place
from bot.core.reply import Reply
from bot.core.text import Text
from bot.platforms.base import Refused, Say
from bot.platforms.edits import Payload
from bot.platforms.foreign import HarmlessStream
from bot.platforms.mattermost.posts import MEMORY, MattermostEdits, MattermostThreads
from bot.platforms.mattermost.render import LOG, LONGEST, render
from bot.platforms.mattermost.rest import Rest
from bot.platforms.pages import Pages
from bot.platforms.talk import Origin, Talk
from bot.platforms.threads import answer_event

FOOTNOTE = 300
TYPING_SECONDS = 4.0
FIRST, SLOWEST, PER_CHARACTER = 1.0, 2.0, 1e-4
"""Seconds between two states of an answer: the longer it is the rarer, as each edit sends all of it."""
FINAL_PAUSES = (0.0, 5.0, 20.0)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Desk:
    """What all talks share."""

    rest: Rest
    threads: MattermostThreads
    edits: MattermostEdits


class MattermostTalk(Talk):
    """In a channel, or with one person."""

    def __init__(self, desk: Desk, message: Message, origin: Origin, say: Say) -> None:
        super().__init__(desk.threads, desk.edits, message, origin, say)
        self._desk, self._rest = desk, desk.rest

    async def wait(self) -> None:
        """Show that the bot writes."""
        while True:
            await self._rest.typing(self._place.channel, self._place.thread)
            await asyncio.sleep(TYPING_SECONDS)

    async def open_form(self, form: Form) -> bool:
        """Nothing that could open one comes with a post."""
        return False

    def draw(self, reply: Reply) -> Payload:
        """Markdown."""
        return {"message": render(reply, self._say) or "…"}

    def begin_answer(self, message: str) -> "MattermostAnswer":
        """In the thread."""
        return MattermostAnswer(self._desk, self._place, self._say, message)

    async def post(self, reply: Reply) -> str:
        """A post; a long log is a file beside it."""
        return await send(self._rest, self._place, reply, self._say)

    async def whisper(self, reply: Reply) -> None:
        """In the direct messages: what only the person sees elsewhere, the server lets no bot write."""
        direct = Place("mattermost", await self._rest.direct(self._user.id))
        await send(self._rest, direct, reply, self._say)


async def send(rest: Rest, place: Place, reply: Reply, say: Say) -> str:
    """A new post; its id."""
    files = []
    if len(reply.log) > LOG:
        files = [await rest.upload(place.channel, "vllm.log", reply.log)]
        reply = replace(reply, log="")
    post = {"message": render(reply, say) or "…", "file_ids": files}
    return await rest.create(place.channel, place.thread, post)


class MattermostAnswer:
    """`message` is a post that becomes the answer; whatever breaks, all of it stands there in the end."""

    def __init__(self, desk: Desk, place: Place, say: Say, message: str) -> None:
        self._desk, self._place, self._say = desk, place, say
        self._safe, self._pages = HarmlessStream(), Pages(LONGEST - FOOTNOTE)
        self._message, self._page, self._taken = message, 0, 0
        self._shown, self._reply, self._at = "", Reply(), 0.0
        self._showing: asyncio.Task[None] | None = None

    def show(self, reply: Reply) -> None:
        """The answer so far; shown now and then."""
        self._reply = reply
        self._pages.add(self._safe.add(reply.answer[self._taken :]))
        self._taken = len(reply.answer)
        pause = min(SLOWEST, FIRST + PER_CHARACTER * len(self._pages.pages[-1]))
        idle = self._showing is None or self._showing.done()
        if idle and monotonic() - self._at > pause:
            self._at = monotonic()
            self._showing = asyncio.create_task(self._flow())

    async def finish(self, footnote: Text | None) -> None:
        """Everything that came, for certain, and what there is to say about it."""
        if self._showing is not None:
            await self._showing
        self._pages.add(self._safe.add("", last=True))
        while self._page < len(self._pages.pages) - 1:
            await self._settle(None)
        await self._settle(footnote)

    async def _flow(self) -> None:
        try:
            while self._page < len(self._pages.pages) - 1:
                await self._settle(None)
            page = self._pages.pages[self._page]
            if page.strip() and page != self._shown:
                await self._put(page, {}, new=not self._message)
                self._shown = page
        except Refused as error:
            log.warning("answer not shown yet", why=error.code)

    async def _settle(self, footnote: Text | None) -> None:
        """The page as it stays, with its memory; then on to the next one."""
        page, reply = self._pages.pages[self._page], self._reply
        event = answer_event(reply.question, reply.workload, self._page) | {"markdown": page}
        shown = render(Reply(answer=page, footnote=footnote), self._say)
        for pause in FINAL_PAUSES:
            await asyncio.sleep(pause)
            with suppress(Refused):
                await self._put(shown, {MEMORY: event}, new=True)
                break
        else:
            log.warning("answer not complete")
        self._page, self._message, self._shown = self._page + 1, "", ""

    async def _put(self, text: str, props: Payload, *, new: bool) -> None:
        """Into its post; into a new one if there is none yet, or it can no longer be changed."""
        payload = {"message": text, "props": props}
        channel, thread = self._place.channel, self._place.thread
        if self._message and await self._desk.edits.send(channel, self._message, payload):
            return
        if new:
            self._message = await self._desk.rest.create(channel, thread, payload)
