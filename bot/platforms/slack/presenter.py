"""Replies in Slack: messages, ephemeral ones, modals and streamed answers."""

from contextlib import suppress
from dataclasses import dataclass, replace

from bot.core.chat.form import Form
from bot.core.chat.message import Message, Place
from bot.core.chat.reply import Picture, Reply
from bot.core.chat.text import Say, t
from bot.platforms.shared.edits import Payload
from bot.platforms.shared.presenter import Origin, Presenter
from bot.platforms.slack import modal
from bot.platforms.slack.answer import SlackAnswer
from bot.platforms.slack.edits import SlackEdits
from bot.platforms.slack.rates import Flow
from bot.platforms.slack.render import LOG, Block, payload, plain
from bot.platforms.slack.threads import SlackThreads
from bot.platforms.slack.web import NONCE_EVENT, SlackRefused, Web

STOP = "stop_answer"
SAID = {"kind": "said"}
"""What a message remembers that waits for nothing, or no more."""
AWAY = ("not_in_channel", "channel_not_found", "user_not_in_channel", "is_archived")


@dataclass(frozen=True, slots=True)
class SlackContext:
    """What all presenters share."""

    web: Web
    threads: SlackThreads
    edits: SlackEdits
    flow: Flow


class SlackPresenter(Presenter):
    """In a channel, or with one person."""

    def __init__(self, context: SlackContext, message: Message, origin: Origin, say: Say) -> None:
        super().__init__(context.threads, context.edits, message, origin, say)
        self._context, self._web = context, context.web

    async def wait(self) -> None:
        """Say that it takes a moment."""
        if self._place.thread:
            with suppress(SlackRefused):
                await self._web.call(
                    "assistant.threads.setStatus",
                    channel_id=self._place.channel,
                    thread_ts=self._place.thread,
                    status=self._say(t("chat.thinking")),
                )
        else:
            await self.whisper(Reply(t("chat.thinking")))

    async def open_form(self, form: Form) -> bool:
        """As a modal."""
        view = modal.view(form, self._place, self._say)
        try:
            await self._web.call("views.open", quick=True, trigger_id=self._origin.trigger, view=view)
        except SlackRefused:
            return False
        return True

    def draw(self, reply: Reply) -> Payload:
        """Blocks; who waits for an answer can give up."""
        remembered = {"event_type": NONCE_EVENT, "event_payload": self.memory(reply) or SAID}
        drawn = payload(reply, self._say) | {"metadata": remembered}
        if reply.question and not reply.answer:
            drawn["blocks"] = [*drawn["blocks"], self._stop()]
        return drawn

    def _stop(self) -> Block:
        stop = {
            "type": "button",
            "action_id": STOP,
            "text": plain(self._say(t("button.stop_answer")), 75),
            "value": self._origin.key,
        }
        return {"type": "actions", "elements": [stop]}

    def begin_answer(self, message: str) -> SlackAnswer:
        """With a button that stops it."""
        return SlackAnswer(
            self._web,
            self._context.edits,
            self._context.flow,
            self._place,
            self._user,
            self._origin.team,
            self._say,
            stop=self._stop(),
            message=message,
        )

    async def post(self, reply: Reply) -> str:
        """A message; a long log and a picture are files beside it."""
        if len(reply.log) > LOG:
            await upload(self._web, self._place.channel, self._place.thread, reply, self._say)
            reply = replace(reply, log="")
        drawn = self.draw(reply)
        event = drawn.pop("metadata")["event_payload"]
        sent = await self._web.post(self._place.channel, self._place.thread, drawn, event)
        await show(self._web, self._place, reply.picture, self._say)
        return sent

    async def beside(self, reply: Reply) -> None:
        """The picture, as a file."""
        await show(self._web, self._place, reply.picture, self._say)

    async def whisper(self, reply: Reply) -> None:
        """Seen by the person alone; a long log goes to the direct messages, where files can be private."""
        channel, thread = self._place.channel, self._place.thread or None
        if len(reply.log) > LOG:
            await upload(self._web, await self._web.direct(self._user.id), "", reply, self._say)
            reply = replace(reply, log="", lines=(*reply.lines, t("chat.log_sent")))
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


async def show(web: Web, place: Place, picture: Picture | None, say: Say) -> None:
    """A picture as a file."""
    if picture is not None:
        alt = say(picture.alt)
        await web.file(place.channel, place.thread, picture.name, picture.png, alt, alt)


async def upload(web: Web, channel: str, thread: str, reply: Reply, say: Say) -> None:
    """A log as a file."""
    title = say(reply.text) if reply.text else "log"
    await web.file(channel, thread, "vllm.log", reply.log.encode(), title)
