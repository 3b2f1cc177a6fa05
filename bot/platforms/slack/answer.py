"""An answer of a model, streamed into a thread; all of it arrives, whatever Slack refuses meanwhile."""

import asyncio
from time import monotonic
from typing import Any

import structlog

from bot.core.chat.message import Place, User
from bot.core.chat.reply import Reply
from bot.core.chat.text import Say, Text
from bot.platforms.shared.pagination import Pages
from bot.platforms.shared.sanitize import SanitizedStream
from bot.platforms.shared.threads import answer_event
from bot.platforms.slack.messages import SlackEdits
from bot.platforms.slack.rates import AnswerPace
from bot.platforms.slack.render import ANSWER, Block, blocks, text
from bot.platforms.slack.web import NONCE_EVENT, SlackRefused, SlackWeb

STREAM_SECONDS = 240.0
"""Slack ends a stream five minutes after its start, even while it flows."""
APPENDS, UPDATES = 90, 40
"""A minute, shared by all answers that flow: a little below what Slack takes of a workspace."""
FINAL_PAUSES = (0.0, 5.0, 20.0)
FLOWING = {"kind": "flowing"}

log = structlog.get_logger()


class SlackAnswer:
    """`message` is one that was posted before and becomes the answer; if empty, a stream is started."""

    def __init__(
        self,
        web: SlackWeb,
        edits: SlackEdits,
        pace: AnswerPace,
        place: Place,
        user: User,
        team: str,
        say: Say,
        stop: Block,
        message: str,
    ) -> None:
        self._web, self._edits, self._pace = web, edits, pace
        self._place, self._say = place, say
        self._user, self._team = user, team
        self._stop = stop
        self._safe = SanitizedStream()
        self._pages = Pages(ANSWER)
        self._added = 0
        self._page = 0
        self._message, self._streaming, self._stream_broken = message, False, False
        self._sent = 0
        self._stream_started = monotonic()
        self._changed, self._step_lock = asyncio.Event(), asyncio.Lock()
        self._reply = Reply()
        self._task: asyncio.Task[None] | None = None

    def show(self, reply: Reply) -> None:
        """The answer so far; it is shown as fast as Slack allows."""
        self._reply = reply
        if self._streaming and monotonic() - self._stream_started > STREAM_SECONDS:
            self._pages.start_page()
            self._stream_started = monotonic()
        self._pages.add(self._safe.add(reply.answer[self._added :]))
        self._added = len(reply.answer)
        self._changed.set()
        if self._task is None:
            self._pace.active += 1
            self._task = asyncio.create_task(self._run())

    async def finish(self, footnote: Text | None) -> None:
        """Write the whole answer, with a footnote."""
        if self._task is not None:
            self._pace.active -= 1
            async with self._step_lock:  # a message that is being begun would be there twice
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._pages.add(self._safe.add("", last=True))
        while self._page < len(self._pages.pages) - 1:
            await self._finish_page(None)
        await self._finish_page(footnote)

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            async with self._step_lock:
                try:
                    await self._step()
                except SlackRefused as error:
                    log.warning("answer.delayed", why=error.code)
            await asyncio.sleep(self._pace.pause(APPENDS if self._streaming else UPDATES))

    async def _step(self) -> None:
        while self._page < len(self._pages.pages) - 1:
            await self._finish_page(None)
        page = self._pages.pages[self._page]
        if not self._message:
            if page:  # Slack begins nothing without a word
                await self._begin(page)
        elif self._streaming and not self._stream_broken:
            await self._append(page)
        elif self._streaming and not await self._stopped():
            self._changed.set()
        elif self._web.rates.updates.try_acquire():
            await self._write(self._flowing_page(page), FLOWING)

    async def _begin(self, page: str) -> None:
        channel, thread = self._place.channel, self._place.thread
        chunks = [_chunk(page), {"type": "blocks", "blocks": [self._stop]}]
        self._stream_started, self._sent = monotonic(), len(page)
        if self._web.rates.starts.try_acquire():
            try:
                begun = await self._web.call(
                    "chat.startStream",
                    channel=channel,
                    thread_ts=thread,
                    chunks=chunks,
                    recipient_user_id=self._user.id,
                    recipient_team_id=self._team,
                )
            except SlackRefused as error:
                log.warning("stream.refused", why=error.code)
            else:
                self._message, self._streaming = str(begun["ts"]), True
                return
        self._message = await self._web.post(channel, thread, self._flowing_page(page), FLOWING)

    def _flowing_page(self, page: str) -> dict[str, Any]:
        return {
            "text": text(Reply(answer=page), self._say),
            "blocks": [*blocks(Reply(answer=page), self._say), self._stop],
        }

    async def _append(self, page: str) -> None:
        if len(page) == self._sent or not self._web.rates.appends.try_acquire():
            if len(page) > self._sent:
                self._changed.set()
            return
        try:
            await self._web.call(
                "chat.appendStream",
                channel=self._place.channel,
                ts=self._message,
                chunks=[_chunk(page[self._sent :])],
            )
        except SlackRefused as error:
            log.warning("stream.broken", why=error.code)
            self._stream_broken = True  # from now on the whole page is written: so nothing is repeated
            self._changed.set()
        else:
            self._sent = len(page)

    async def _stopped(self) -> bool:
        """End the stream, as only then the message can be edited; False when Slack refuses."""
        try:
            await self._web.call("chat.stopStream", channel=self._place.channel, ts=self._message)
        except SlackRefused as error:
            if not error.gone and error.code != "message_not_in_streaming_state":
                return False
        self._streaming = self._stream_broken = False
        return True

    async def _finish_page(self, footnote: Text | None) -> None:
        """Write the current page as final, with its metadata; go on to the next one."""
        page, reply = self._pages.pages[self._page], self._reply
        event = answer_event(reply.question, reply.workload, self._page)
        drawn = blocks(Reply(answer=page, footnote=footnote), self._say)
        payload = {"text": text(Reply(answer=page), self._say), "blocks": drawn}
        for pause in FINAL_PAUSES:
            await asyncio.sleep(pause)
            if self._streaming and not await self._stopped():
                continue
            await self._web.rates.updates.acquire()
            try:
                await self._write(payload, event)
                break
            except SlackRefused as error:
                log.warning("answer.incomplete", why=error.code)
        self._page, self._message, self._sent = self._page + 1, "", 0
        self._streaming = self._stream_broken = False

    async def _write(self, payload: dict[str, Any], event: dict[str, Any]) -> None:
        """Edit the current message; post a new one if there is none, or it was deleted."""
        channel, thread = self._place.channel, self._place.thread
        metadata = {"event_type": NONCE_EVENT, "event_payload": event}
        changed = {**payload, "metadata": metadata}
        if not self._message or not await self._edits.send(channel, self._message, changed):
            self._message = await self._web.post(channel, thread, payload, event)


def _chunk(markdown: str) -> Block:
    return {"type": "markdown_text", "text": markdown}
