"""What becomes of the replies to one request: a message that changes, a private word, a form, an answer."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic

from bot.core.message import Message
from bot.core.reply import Reply
from bot.core.text import Text, t
from bot.platforms.slack import modal
from bot.platforms.slack.answer import Answer
from bot.platforms.slack.edits import Edits
from bot.platforms.slack.rates import Flow
from bot.platforms.slack.render import LOG, payload, plain
from bot.platforms.slack.threads import Threads
from bot.platforms.slack.web import SlackRefused, Web

Say = Callable[[Text], str]
STOP = "stop_answer"
GATHER, CATCH_UP = (0.05, 0.15), 0.02
"""Seconds in which tokens gather, and in which they are taken: Slack is shown an answer once a second,
and fifty answers looked at in turn leave time to acknowledge what people do meanwhile."""
AWAY = ("not_in_channel", "channel_not_found", "user_not_in_channel", "is_archived")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a request came with: a `trigger` opens one form within three seconds, `card` is the
    message whose button was pressed, `answer_to` takes a word to the person wherever that is,
    `direct` is a conversation with nobody else in it."""

    key: str = ""
    team: str = ""
    trigger: str = ""
    card: str = ""
    answer_to: str = ""
    direct: bool = False


@dataclass(frozen=True, slots=True)
class Desk:
    """What all talks share."""

    web: Web
    threads: Threads
    edits: Edits
    flow: Flow


class Talk:
    """`show` each reply, then `end`."""

    def __init__(self, desk: Desk, message: Message, origin: Origin, say: Say) -> None:
        self._desk, self._web = desk, desk.web
        self._user, self._place = message.user, message.place
        self._origin, self._say = origin, say
        self._sent = ""
        self._answer: Answer | None = None
        self._last = Reply()
        self._pause_at = 0.0

    async def show(self, reply: Reply) -> str:
        """Show it; the id of the message it became, nothing if it is no message of the channel."""
        if self._answer is not None and not reply.answer:  # what was said of it stays
            await self._whisper(reply)
            return self._sent
        self._last = reply
        if reply.form and self._origin.trigger and await self._opened(reply):
            return ""
        if reply.question and not self._place.thread:
            await self._open_thread(reply.question)
        if reply.answer:
            self._show_answer(reply)
            if reply.footnote is None and monotonic() > self._pause_at:
                await asyncio.sleep(random.uniform(*GATHER))
                self._pause_at = monotonic() + CATCH_UP
        elif self._sent:
            self._sent = await self._change(self._sent, reply)
        else:
            self._sent = await self._say_first(reply)
        return self._sent

    async def _say_first(self, reply: Reply) -> str:
        if reply.private and not self._origin.direct:
            await self._whisper(reply)
            return ""
        if self._origin.card and not reply.private:
            return await self._change(self._origin.card, reply)
        return await self._post(reply)

    async def end(self, *, stopped: bool = False) -> None:
        """Whatever was shown becomes final."""
        reply = self._last
        if self._answer is not None:
            await self._answer.finish(t("ask.stopped") if stopped else reply.footnote)
            self._desk.threads.add(self._place, reply.question, reply.answer, reply.workload)
        elif stopped and self._sent:
            await self._change(self._sent, replace(reply, live=False, lines=(t("ask.stopped"),)))

    async def wait(self) -> None:
        """Say that it takes a moment."""
        with suppress(SlackRefused):
            if self._place.thread:
                await self._web.call(
                    "assistant.threads.setStatus",
                    channel_id=self._place.channel,
                    thread_ts=self._place.thread,
                    status=self._say(t("slack.thinking")),
                )
            else:
                await self._whisper(Reply(t("slack.thinking")))

    async def _opened(self, reply: Reply) -> bool:
        """A trigger that came too late leaves the reply, which has a button for the form."""
        assert reply.form is not None
        view = modal.view(reply.form, self._place, self._say)
        try:
            await self._web.call("views.open", quick=True, trigger_id=self._origin.trigger, view=view)
        except SlackRefused:
            return False
        return True

    async def _open_thread(self, question: str) -> None:
        """An answer belongs into a thread; a slash command leaves nothing that could begin one."""
        opener = Reply(t("slack.asks", name=self._user.name, question=question[:2000]))
        begun = await self._post(opener)
        self._place = replace(self._place, thread=begun)
        self._desk.threads.join(self._place.channel, begun, new=True)

    def _show_answer(self, reply: Reply) -> None:
        if self._answer is None:
            self._desk.edits.forget(self._sent)
            stop = {
                "type": "button",
                "action_id": STOP,
                "text": plain(self._say(t("button.stop_answer")), 75),
                "value": self._origin.key,
            }
            self._answer = Answer(
                *(
                    self._web,
                    self._desk.edits,
                    self._desk.flow,
                    self._place,
                    self._user,
                    self._origin.team,
                    self._say,
                ),
                stop={"type": "actions", "elements": [stop]},
                message=self._sent,
            )
        self._answer.show(reply)

    async def _change(self, message: str, reply: Reply) -> str:
        shown = payload(reply, self._say)
        if reply.live or reply.question:
            self._desk.edits.soon(self._place.channel, message, shown)
            return message
        if await self._desk.edits.now(self._place.channel, message, shown):
            return message
        return await self._post(reply)

    async def _post(self, reply: Reply) -> str:
        if len(reply.log) > LOG:
            await upload(self._web, self._place.channel, self._place.thread, reply, self._say)
            reply = replace(reply, log="")
        return await self._web.post(self._place.channel, self._place.thread, payload(reply, self._say), {})

    async def _whisper(self, reply: Reply) -> None:
        """Seen by the person alone; a long log goes to the direct messages, where files can be private."""
        channel, thread = self._place.channel, self._place.thread or None
        if len(reply.log) > LOG:
            await upload(self._web, await self._web.direct(self._user.id), "", reply, self._say)
            reply = replace(reply, log="", lines=(*reply.lines, t("slack.log_sent")))
        try:
            await self._web.call(
                "chat.postEphemeral",
                channel=channel,
                user=self._user.id,
                thread_ts=thread,
                **payload(reply, self._say),
            )
        except SlackRefused as error:
            if error.code not in AWAY:
                raise
            await self._web.post(await self._web.direct(self._user.id), "", payload(reply, self._say), {})


async def upload(web: Web, channel: str, thread: str, reply: Reply, say: Say) -> None:
    """A log as a file."""
    title = say(reply.text) if reply.text else "log"
    await web.file(channel, thread, "vllm.log", reply.log, title)
