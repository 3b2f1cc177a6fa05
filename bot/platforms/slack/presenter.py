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
from bot.platforms.slack.messages import SlackEdits, SlackThreads
from bot.platforms.slack.rates import AnswerPace
from bot.platforms.slack.render import LOG, Block, payload, plain
from bot.platforms.slack.web import NONCE_EVENT, SlackRefused, SlackWeb

STOP = "stop_answer"
NOT_WAITING = {"kind": "said"}
"""The metadata of a message that waits for no model (any more)."""
AWAY = ("not_in_channel", "channel_not_found", "user_not_in_channel", "is_archived")


@dataclass(frozen=True, slots=True)
class SlackContext:
    """What all presenters share."""

    web: SlackWeb
    threads: SlackThreads
    edits: SlackEdits
    pace: AnswerPace


class SlackPresenter(Presenter):
    """Shows the replies to one message."""

    def __init__(self, context: SlackContext, message: Message, origin: Origin, say: Say) -> None:
        super().__init__(context.threads, context.edits, message, origin, say)
        self._context, self._web = context, context.web

    async def show_waiting(self) -> None:
        """Show that the bot is thinking."""
        if self._place.thread:
            with suppress(SlackRefused):
                await self._web.call(
                    "assistant.threads.setStatus",
                    channel_id=self._place.channel,
                    thread_ts=self._place.thread,
                    status=self._say(t("chat.thinking")),
                )
        else:
            await self.reply_privately(Reply(t("chat.thinking")))

    async def open_form(self, form: Form) -> bool:
        """As a modal."""
        view = modal.view(form, self._place, self._say)
        try:
            await self._web.call("views.open", quick=True, trigger_id=self._origin.trigger, view=view)
        except SlackRefused:
            return False
        return True

    def draw(self, reply: Reply) -> Payload:
        """Blocks; a question that waits has a button to give up."""
        remembered = {"event_type": NONCE_EVENT, "event_payload": self.metadata(reply) or NOT_WAITING}
        message = payload(reply, self._say) | {"metadata": remembered}
        if reply.question and not reply.answer:
            message["blocks"] = [*message["blocks"], self._stop()]
        return message

    def _stop(self) -> Block:
        stop = {
            "type": "button",
            "action_id": STOP,
            "text": plain(self._say(t("button.stop_answer")), 75),
            "value": self._origin.key,
        }
        return {"type": "actions", "elements": [stop]}

    def begin_answer(self, message: str) -> SlackAnswer:
        """Start an answer, with a button that stops it."""
        return SlackAnswer(
            self._web,
            self._context.edits,
            self._context.pace,
            self._place,
            self._user,
            self._origin.team,
            self._say,
            stop=self._stop(),
            message=message,
        )

    async def post(self, reply: Reply) -> str:
        """Post a message; a long log and a picture are uploaded as files."""
        if len(reply.log) > LOG:
            await upload(self._web, self._place.channel, self._place.thread, reply, self._say)
            reply = replace(reply, log="")
        message = self.draw(reply)
        event = message.pop("metadata")["event_payload"]
        place, person = self._place, self._user.id
        sent = await self._web.post(place.channel, place.thread, message, event, person)
        await show(self._web, self._place, reply.picture, self._say)
        return sent

    async def post_picture(self, reply: Reply) -> None:
        """Upload the picture."""
        await show(self._web, self._place, reply.picture, self._say)

    async def reply_privately(self, reply: Reply) -> None:
        """As an ephemeral message; a long log goes to the direct messages, where files can be private."""
        channel, thread = self._place.channel, self._place.thread or None
        if len(reply.log) > LOG:
            await upload(self._web, await self._web.open_direct_channel(self._user.id), "", reply, self._say)
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
            direct = await self._web.open_direct_channel(self._user.id)
            await self._web.post(direct, "", payload(reply, self._say), {}, self._user.id)


async def show(web: SlackWeb, place: Place, picture: Picture | None, say: Say) -> None:
    """Upload a picture, if there is one."""
    if picture is not None:
        alt = say(picture.alt)
        await web.upload_file(place.channel, place.thread, picture.name, picture.png, alt, alt)


async def upload(web: SlackWeb, channel: str, thread: str, reply: Reply, say: Say) -> None:
    """Upload a log as a file."""
    title = say(reply.text) if reply.text else "log"
    await web.upload_file(channel, thread, "vllm.log", reply.log.encode(), title)
