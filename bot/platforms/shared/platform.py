"""What every chat platform does: listen, post, edit. The conversation itself is shared."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import ClassVar

import structlog
from aiohttp import web

from bot.core.changes import Listening
from bot.core.chat.errors import Bug, UserError
from bot.core.chat.message import Message, Place, Turn
from bot.core.chat.reply import Reply
from bot.core.chat.text import Phrasebook, Say, Text
from bot.core.finding import Finding
from bot.core.supervision import Supervisor

log = structlog.get_logger()
Handle = Callable[[Message], AsyncGenerator[Reply, str | None]]
Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(UserError):
    """The chat server refused a request: `code` is its own name for the reason, or `unreachable`. `gone`
    means that the message or channel does not exist, or can never be reached."""

    def __init__(self, text: Text, code: str, *, gone: bool) -> None:
        super().__init__(text)
        self.code, self.gone = code, gone


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a platform is given beside its own settings."""

    phrases: Phrasebook
    language: str
    """Spoken where a person's own language is not known."""
    role_members: frozenset[str]
    """Ids of people, groups and channels that settings give a role to."""
    changes: Callable[[], Listening]
    """A block that hears the names of deployments as they change, for ever."""


class Platform(ABC):
    """A place where people talk; also the Messenger for it."""

    name: ClassVar[str]
    """The folder's name."""
    admin_groups: ClassVar[frozenset[str]] = frozenset()
    """Groups of the chat server itself (`User.groups`) whose members are admins of the bot."""

    def __init__(self, phrases: Phrasebook, language: str) -> None:
        self._phrases = phrases
        self._language = language
        self.supervisor = Supervisor()
        """Of what goes on beside listening."""

    @property
    def ready(self) -> bool:
        """People can reach it now."""
        return True

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """What the chat server calls by POST, by path."""
        return {}

    async def check(self) -> AsyncIterator[Finding]:
        """What `doctor` finds out about it; afterwards the platform is closed."""
        return
        yield "ok", Text(""), None

    @abstractmethod
    async def listen(self, handle: Handle) -> None:
        """Take requests until the platform ends or is cancelled; `handle` answers each."""

    @abstractmethod
    async def send(self, place: Place, reply: Reply, say: Say) -> str:
        """Post, and return the id of the new message."""

    @abstractmethod
    async def update(self, place: Place, message: str, reply: Reply, say: Say) -> None:
        """Put `reply` in the place of a message sent before."""

    @abstractmethod
    async def history(self, place: Place) -> Sequence[Turn]:
        """The conversation with models in this place, oldest first."""

    async def find(self, place: Place, key: str) -> str:
        """A message that was posted with this key, by an earlier run of the bot; nothing where none is."""
        return ""

    def alone_shows(self, message: str) -> bool:
        """No other process of the bot can edit this message; chat servers keep theirs for all."""
        return False

    async def resume(self, place: Place, message: str) -> bool:
        """Go on with a request whose message waited when the bot ended; True once that is over, as where none
        is remembered; False when there is no room for it now."""
        return True

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        """Post something that nobody has just asked for."""
        return await self.send(place, reply, self._say_in(locale))

    async def edit(self, place: Place, message: str, reply: Reply, locale: str = "") -> None:
        """Edit a message that was posted before."""
        await self.update(place, message, reply, self._say_in(locale))

    async def converse(self, message: Message, handle: Handle) -> Reply | None:
        """Post the first reply, let each later one take its place; return the last. If one cannot be shown,
        the person is told so."""
        sent: str | None = None
        last: Reply | None = None
        async with aclosing(handle(message)) as replies:
            try:
                while (reply := await next_reply(replies, sent)) is not None:
                    sent = await self._show(message, reply, sent)
                    last = reply
            except (UserError, OSError):  # the chat or the terminal is away
                raise
            except Exception:
                bug = Bug()
                log.exception("reply.not_shown", user=message.user.id, id=bug.id)
                last = bug.reply
                await self._show(message, last, None)
        return last

    async def _show(self, message: Message, reply: Reply, sent: str | None) -> str:
        say = self._say_in(message.user.locale)
        if sent is None:
            return await self.send(message.place, reply, say)
        await self.update(message.place, sent, reply, say)
        return sent

    def _say_in(self, locale: str) -> Say:
        return self._phrases.speaker(locale or self._language)


async def last_reply(replies: AsyncGenerator[Reply, str | None]) -> Reply | None:
    """The last of the replies; None if there are none."""
    last = None
    async for reply in replies:
        last = reply
    return last


async def next_reply(replies: AsyncGenerator[Reply, str | None], sent: str | None) -> Reply | None:
    """The next reply, after sending back the id of the last one's message; None at the end."""
    try:
        return await replies.asend(sent)
    except StopAsyncIteration:
        return None
