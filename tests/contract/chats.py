"""A person in Slack, in Mattermost and at a terminal: types, reads and presses buttons."""

import asyncio
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bot.app.http_server import HttpServer
from bot.app.settings import Settings
from bot.engines.vllm.inference import VllmInference
from bot.simulator.cluster import SimulatedCluster
from tests.conftest import PATIENCE, Clock, eventually
from tests.fakes.mattermost import FakeMattermost
from tests.fakes.slack import FakeSlack, labels, words
from tests.platforms.mattermost.conftest import Bot as MattermostBot
from tests.platforms.mattermost.conftest import attachments
from tests.platforms.slack.conftest import Bot as SlackBot

ROOT = Path(__file__).parents[2]


class Person(ABC):
    """`clockwork` lets simulated time pass."""

    def __init__(self, name: str, locale: str) -> None:
        self.name, self.locale = name, locale

    @abstractmethod
    async def come(
        self, settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: Clock
    ) -> None:
        """To a bot of their own, on that cluster."""

    @abstractmethod
    async def type(self, line: str) -> None:
        """A command."""

    @abstractmethod
    def sees(self) -> str:
        """All that there is to read now, whatever is for this person alone included."""

    @abstractmethod
    async def press(self, label: str) -> None:
        """The newest button of that name; and say yes if it asks."""

    async def reads(self, said: str, seconds: float = PATIENCE) -> None:
        """Wait until it stands there."""
        try:
            await eventually(lambda: said in self.sees(), seconds)
        except TimeoutError:
            raise AssertionError(f"{said!r} is not in:\n{self.sees()}") from None

    @abstractmethod
    async def leave(self) -> None:
        """The end."""


class InSlack(Person):
    """By slash commands in a channel."""

    async def come(
        self, settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: Clock
    ) -> None:
        self.fake, self.user = FakeSlack(), f"U{self.name.upper()}"
        await self.fake.start()
        self.fake.channel("C1", members=[self.user])
        self.fake.person(self.user, locale=self.locale)
        roles = {
            "researchers": frozenset({"UADA"}),
            "admins": frozenset({"UGRACE"}),
            "admin_channel": "slack:C1",
        }
        self.bot = SlackBot(settings.model_copy(update=roles), self.fake, cluster, inference, clock)
        await self.bot.start()

    async def type(self, line: str) -> None:
        await self.fake.command(self.user, line)

    def _messages(self) -> list[dict[str, Any]]:
        return [*self.fake.messages.values(), *self.fake.whispers]

    def sees(self) -> str:
        return "\n".join(words(message) for message in self._messages())

    async def press(self, label: str) -> None:
        shown = [message for message in self._messages() if label in labels(message)][-1]
        await self.fake.click(self.user, shown, label)

    async def leave(self) -> None:
        await self.bot.stop()
        await self.fake.stop()
        assert self.fake.invalid == []


class InMattermost(Person):
    """By slash commands in a channel."""

    async def come(
        self, settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: Clock
    ) -> None:
        self.fake = FakeMattermost()
        self.url = await self.fake.start()
        office = {"roles": "system_user system_admin"} if self.name == "grace" else {}
        self.user = self.fake.person(self.name, locale=self.locale, **office)
        self.fake.channel("c1", members=[self.user])
        roles = {"researchers": frozenset({"ada".ljust(26, "0")}), "admin_channel": "mattermost:c1"}
        self.bot = MattermostBot(settings.model_copy(update=roles), self.url, cluster, inference, clock)
        self.health = HttpServer(
            "127.0.0.1", 0, ready=lambda: True, down=list, endpoints=self.bot.endpoints()
        )
        await self.health.start()
        self.bot.callback_url = self.fake.bot_url = f"http://127.0.0.1:{self.health.port}"
        await self.bot.start(self.fake)

    async def type(self, line: str) -> None:
        await self.fake.command(self.user, line)

    def _posts(self) -> list[dict[str, Any]]:
        return [*self.fake.posts.values(), *(told for _, told in self.fake.whispers)]

    def sees(self) -> str:
        said = []
        for post in self._posts():
            explained = [attachment.get("text", "") for attachment in attachments(post)]
            said += [post.get("message", post.get("text", "")), *explained]
        return "\n".join(said).replace("\\", "").replace("\u2060", "")

    async def press(self, label: str) -> None:
        def drawn(post: dict[str, Any]) -> bool:
            return any(a["name"] == label for part in attachments(post) for a in part["actions"])

        before = len(self.fake.dialogs)
        await self.fake.click(self.user, [post for post in self._posts() if drawn(post)][-1], label)
        for dialog in self.fake.dialogs[before:]:
            await self.fake.submit(self.user, dialog)

    async def leave(self) -> None:
        await self.bot.stop()
        await self.health.stop()
        await self.fake.stop()


class AtTerminal(Person):
    """The demo, as a process."""

    async def come(
        self, settings: Settings, cluster: SimulatedCluster, inference: VllmInference, clock: Clock
    ) -> None:
        command = [sys.executable, "-m", "bot", "demo", "--speed", "600", "--user", self.name]
        env = {**os.environ, "LANGUAGE": self.locale[:2], "RESEARCHERS": "ada", "ADMINS": "grace"}
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe
        )
        assert self.process.stdin and self.process.stdout
        self._keyboard, self._screen = self.process.stdin, self.process.stdout
        self._printed = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while piece := await self._screen.read(4096):
            self._printed += piece.decode(errors="replace")

    async def type(self, line: str) -> None:
        self._keyboard.write(line.replace("\n", " ").encode() + b"\n")

    def sees(self) -> str:
        return self._printed

    async def press(self, label: str) -> None:
        number = re.findall(rf"(\d+)  ?{re.escape(label)}(?:\]|  )", self._printed)[-1]
        await self.type(number)

    async def leave(self) -> None:
        self._keyboard.close()
        assert await asyncio.wait_for(self.process.wait(), 60) == 0
        await self._reading


PLACES: dict[str, Callable[[str, str], Person]] = {
    "slack": InSlack,
    "mattermost": InMattermost,
    "terminal": AtTerminal,
}
