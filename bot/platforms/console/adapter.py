"""The terminal as a platform: a person types, or a script is read from standard input."""

import asyncio
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import structlog
from cachetools import LRUCache
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.patch_stdout import patch_stdout

from bot.core.chat.errors import Bug
from bot.core.chat.message import Message, Place, Turn, User
from bot.core.chat.reply import Button, Picture, Reply, Tone
from bot.core.chat.text import Phrasebook, Say, t
from bot.platforms.console.render import render
from bot.platforms.shared.platform import Handle, Platform

log = structlog.get_logger()
TERMINAL = Place("console", "terminal")
LEAVE = {"exit", "quit", "bye"}
TURNS_KEPT, MESSAGES_KEPT = 200, 1000


class Console(Platform):
    """Prints like paper: what was printed stays, and an edit prints what is new.

    In a script (where stdin or stdout is no terminal) the next line is read once the last message is
    final."""

    name = "console"

    def __init__(
        self,
        phrases: Phrasebook,
        language: str,
        user: str,
        words: Callable[[], list[str]] = list,
    ) -> None:
        super().__init__(phrases, language)
        self._user = User(user, user, language)
        self._words = words
        self._script = not (sys.stdin.isatty() and sys.stdout.isatty())
        self._session = secrets.token_hex(4)
        self._numbers = count(1)
        self._printed: LRUCache[str, str] = LRUCache(MESSAGES_KEPT)
        self._above = ""
        """The message whose lines were printed last."""
        self._live: set[str] = set()
        """Messages of the command in the foreground, or of the last one, that are not final yet."""
        self._answering = False
        self._settled = asyncio.Event()
        self._foreground = asyncio.Lock()
        self._buttons: tuple[Button, ...] = ()
        self._news: dict[str, tuple[Place, Reply]] = {}
        self._turns: list[Turn] = []
        self._open_line = False

    async def listen(self, handle: Handle) -> None:
        """Read lines until the end of input or `exit`."""
        async for line in self._lines():
            text = self._chosen(line.strip())
            if text.lower() in LEAVE:
                return
            if text:
                await self._handle(Message(text, self._user, TERMINAL), handle)

    async def _handle(self, message: Message, handle: Handle) -> None:
        """Run one command; Ctrl-C stops it, not the bot."""
        async with self._foreground:
            task = asyncio.ensure_future(self.converse(message, handle))
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, task.cancel)
            self._live.clear()
            self._answering = True
            try:
                last = await task
                if last is not None and last.question and last.tone is not Tone.FAILED:
                    turns = [Turn("user", last.question), Turn("assistant", last.answer)]
                    self._turns = [*self._turns, *turns][-TURNS_KEPT:]
            except asyncio.CancelledError:
                if not task.cancelled():
                    raise
                self._end_line()
                self._write(f"  {self._say_in(self._language)(t('ask.stopped'))}\n")
            finally:
                self._answering = False
                loop.remove_signal_handler(signal.SIGINT)
                self._end_line()
        await self._show_news()
        if self._script:
            await self._until_settled()

    async def _until_settled(self) -> None:
        """What this command began is final. What changes again later holds nobody up."""
        while self._live:
            self._settled.clear()
            await self._settled.wait()

    async def send(self, place: Place, reply: Reply, say: Say) -> str:
        """Print a new message."""
        message = f"{self._session}-{next(self._numbers)}"
        self._end_line()
        await self.update(place, message, reply, say)
        return message

    async def update(self, place: Place, message: str, reply: Reply, say: Say) -> None:
        """Print what is new in a message."""
        if reply.live and self._answering:
            self._live.add(message)
        before = self._printed.get(message, "")
        now = render(reply, say)
        if reply.picture:
            now += f"\n  {_saved(reply.picture)}"
        self._printed[message] = now
        if reply.answer and before and now.startswith(before):
            self._write(now[len(before) :])
        else:
            self._end_line()
            self._write("\n".join(self._fresh(message, before, now)))
        self._above = message
        if not reply.answer:
            self._end_line()
        if now != before and reply.buttons:
            self._buttons = reply.buttons
        if not reply.live:
            self._live.discard(message)
            self._settled.set()

    def _fresh(self, message: str, before: str, now: str) -> list[str]:
        """The lines that are new in a message, or all if its mark has changed: it is another story now. Below
        those of another message, its first line says whose they are."""
        known, lines = set(before.splitlines()), now.splitlines()
        if before[:1] != now[:1]:
            return lines
        fresh = [line for line in lines if line not in known or not line]
        if fresh and message != self._above and lines[0] not in fresh:
            return [lines[0], *fresh]
        return fresh

    async def edit(self, place: Place, message: str, reply: Reply, locale: str = "") -> None:
        """An edit waits until the command in the foreground has finished; of several edits of a message only
        the latest is printed. What another terminal printed is that one's to change."""
        if message not in self._printed:
            return
        self._news[message] = (place, reply)
        if not self._foreground.locked():
            await self._show_news()

    async def _show_news(self) -> None:
        while self._news:
            message = next(iter(self._news))
            place, reply = self._news.pop(message)
            try:
                await super().edit(place, message, reply)
            except OSError:  # the terminal is gone
                raise
            except Exception:
                bug = Bug()
                log.exception("news.not_shown", id=bug.id)
                self._live.discard(message)
                await self.send(place, bug.reply, self._say_in(self._language))

    async def post(self, place: Place, reply: Reply, locale: str = "") -> str:
        """A message waits until the command in the foreground has finished."""
        async with self._foreground:
            return await super().post(place, reply, locale)

    def alone_shows(self, message: str) -> bool:
        """What was printed here."""
        return message in self._printed

    async def history(self, place: Place) -> Sequence[Turn]:
        """Questions and answers since the terminal was opened."""
        return self._turns

    def _chosen(self, typed: str) -> str:
        """The line that was typed; for a number, the command of that button in the last message."""
        if typed.isdecimal() and len(typed) < 3 and 1 <= int(typed) <= len(self._buttons):
            command = self._buttons[int(typed) - 1].command
            self._write(f"> /llm {command}\n")
            return command
        return typed

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._open_line = not text.endswith("\n")

    def _end_line(self) -> None:
        if self._open_line:
            self._write("\n")

    async def _lines(self) -> AsyncIterator[str]:
        if self._script:
            while line := await asyncio.to_thread(sys.stdin.readline):
                if line.strip():
                    self._write(f"> {line.strip()}\n")
                yield line
            return
        session: PromptSession[str] = PromptSession(completer=WordCompleter(self._words))
        with patch_stdout(raw=True):
            while True:
                with suppress(KeyboardInterrupt):
                    try:
                        yield await session.prompt_async("> ")
                    except EOFError:
                        return


def _saved(picture: Picture) -> str:
    """Save the picture in a temporary file, as a terminal shows none; the path of the file."""
    file = Path(tempfile.mkdtemp(prefix="llm-bot-")) / picture.name
    file.write_bytes(picture.png)
    return str(file)
