"""Shows the replies to one request: as a message that is edited, a private reply, a form or an answer."""

import asyncio
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Protocol

from bot.core.chat.form import Form
from bot.core.chat.message import Message
from bot.core.chat.reply import Reply
from bot.core.chat.text import Say, Text, t
from bot.platforms.shared.edits import Edits, Payload
from bot.platforms.shared.threads import Threads

GATHER, CATCH_UP = (0.05, 0.15), 0.02
"""Seconds in which tokens gather, and in which they are taken: an answer is shown once a second, and
fifty answers looked at in turn leave time to acknowledge what people do meanwhile."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a request came with. `trigger` opens one form within a few seconds, `card` is the message whose
    button was clicked, `answer_to` is an address for private replies, `direct` means a conversation with the
    person alone, `sent` is the message of a request that goes on after a restart."""

    key: str = ""
    team: str = ""
    trigger: str = ""
    card: str = ""
    answer_to: str = ""
    direct: bool = False
    sent: str = ""


class Answer(Protocol):
    """A model's answer, shown as it grows."""

    def show(self, reply: Reply) -> None:
        """The answer so far."""

    async def finish(self, footnote: Text | None) -> None:
        """Write all of it, whatever fails on the way, with a footnote."""


class Presenter(ABC):
    """`show` each reply, then `end`."""

    def __init__(self, threads: Threads, edits: Edits, message: Message, origin: Origin, say: Say) -> None:
        self._threads, self._edits = threads, edits
        self._user, self._place = message.user, message.place
        self._origin, self._say = origin, say
        self._sent = origin.sent
        self._answer: Answer | None = None
        self._last = Reply()
        self._pause_at = 0.0

    @property
    def is_waiting(self) -> bool:
        """It waits for a model, which a restart of the bot does not end."""
        return bool(self._last.again) and self._answer is None

    def metadata(self, reply: Reply) -> dict[str, Any]:
        """What its message holds to go on after a restart, if it waits for a model."""
        if not reply.again:
            return {}
        origin = self._origin
        place, user = self._place, self._user.id
        return self._threads.waiting_event(reply.again, user, place.thread, origin.key, origin.team)

    @abstractmethod
    async def show_waiting(self) -> None:
        """Show that it takes a moment; cancelled with the first reply."""

    @abstractmethod
    async def open_form(self, form: Form) -> bool:
        """Show it; False when its trigger came too late: then the reply has a button for the form."""

    @abstractmethod
    async def post(self, reply: Reply) -> str:
        """A new message of the place; its id."""

    @abstractmethod
    async def post_picture(self, reply: Reply) -> None:
        """Post the picture of a reply whose message exists already."""

    @abstractmethod
    async def reply_privately(self, reply: Reply) -> None:
        """Show it to the person alone."""

    @abstractmethod
    def draw(self, reply: Reply) -> Payload:
        """The reply as an edit of its message."""

    @abstractmethod
    def begin_answer(self, message: str) -> Answer:
        """Start an answer; `message`, if not empty, is one that was posted before and becomes the answer."""

    async def show(self, reply: Reply) -> str:
        """Show it; the id of its message, or nothing if it is no message of the channel."""
        if self._answer is not None and not reply.answer:  # what was said of it stays
            await self.reply_privately(reply)
            return self._sent
        self._last = reply
        if reply.form and self._origin.trigger and await self.open_form(reply.form):
            return ""
        if reply.question and not self._place.thread:
            await self._open_thread(reply.question)
        if reply.answer:
            await self._show_answer(reply)
        elif self._sent:
            self._sent = await self._change(self._sent, reply)
        else:
            self._sent = await self._show_first(reply)
        return self._sent

    async def end(self, *, stopped: bool = False) -> None:
        """Finish what was shown; `stopped` says so in it."""
        reply = self._last
        if self._answer is not None:
            await self._answer.finish(t("ask.stopped") if stopped else reply.footnote)
            self._threads.add(self._place, reply.question, reply.answer, reply.workload)
        elif stopped and self._sent:
            over = replace(reply, live=False, question="", again="", lines=(t("ask.stopped"),))
            await self._change(self._sent, over)

    async def _show_first(self, reply: Reply) -> str:
        if reply.private and not self._origin.direct:
            await self.reply_privately(reply)
            return ""
        if self._origin.card and not reply.private:
            return await self._change(self._origin.card, reply)
        return await self.post(reply)

    async def _open_thread(self, question: str) -> None:
        """Start a thread for an answer: a slash command leaves no message that could start one."""
        begun = await self.post(Reply(t("chat.asks", name=self._user.name, question=question[:2000])))
        self._place = replace(self._place, thread=begun)
        self._threads.join(self._place.channel, begun, new=True)

    async def _show_answer(self, reply: Reply) -> None:
        if self._answer is None:
            self._edits.cancel(self._sent)
            self._answer = self.begin_answer(self._sent)
        self._answer.show(reply)
        if reply.footnote is None and monotonic() > self._pause_at:
            await asyncio.sleep(random.uniform(*GATHER))
            self._pause_at = monotonic() + CATCH_UP

    async def _change(self, message: str, reply: Reply) -> str:
        if reply.picture:
            await self.post_picture(reply)
        channel, live = self._place.channel, reply.live or bool(reply.question)
        if await self._edits.change(channel, message, self.draw(reply), live=live):
            return message
        return await self.post(reply)
