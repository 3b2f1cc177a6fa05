"""What all presenters in Mattermost share, and how a post is made."""

import asyncio
from dataclasses import dataclass, field, replace

from bot.core.chat.message import Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import Say
from bot.platforms.mattermost.buttons import Buttons
from bot.platforms.mattermost.posts import MEMORY, MattermostEdits, MattermostThreads
from bot.platforms.mattermost.render import LOG
from bot.platforms.mattermost.rest import RestClient
from bot.platforms.shared.edits import Payload


@dataclass(frozen=True, slots=True)
class MattermostContext:
    """What all presenters share. `unanswered_calls` are calls of Mattermost that wait for their answer, by
    the key of their origin; the answer is a private reply, or nothing."""

    rest: RestClient
    threads: MattermostThreads
    edits: MattermostEdits
    buttons: Buttons
    unanswered_calls: dict[str, asyncio.Future[Payload | None]] = field(default_factory=dict)

    def answer_call(self, key: str, post: Payload | None) -> bool:
        """Answer the call with this private reply, or with nothing; False when no call waits."""
        waiting = self.unanswered_calls.pop(key, None)
        if waiting is None or waiting.done():
            return False
        waiting.set_result(post)
        return True


async def send(context: MattermostContext, place: Place, reply: Reply, say: Say) -> str:
    """Make a post; its id."""
    files = []
    if len(reply.log) > LOG:
        files = [await context.rest.upload(place.channel, "vllm.log", reply.log.encode())]
        reply = replace(reply, log="")
    if reply.picture:
        files.append(await context.rest.upload(place.channel, reply.picture.name, reply.picture.png))
    post = context.buttons.payload(reply, say, place) | {"file_ids": files}
    if reply.key:
        post["props"][MEMORY] = {"key": reply.key}
    return await context.rest.create_post(place.channel, place.thread, post)
