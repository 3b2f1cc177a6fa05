"""Who may speak to the bot, in which language, and to which groups a person belongs."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.chat.text import t
from bot.platforms.slack.web import SlackRefused, Web

PERSON_SECONDS, GROUP_SECONDS, LOCALE_SECONDS = 300.0, 300.0, 86_400.0
PEOPLE_KEPT = 5000
STRANGERS = ("is_bot", "deleted", "is_restricted", "is_ultra_restricted", "is_stranger", "is_workflow_bot")
_GROUP, _CHANNELS = "S", ("C", "G")


@dataclass(slots=True)
class Cached:
    """Something Slack told us, and when."""

    found: Any
    at: float = field(default_factory=monotonic)

    def fresh(self, seconds: float) -> bool:
        """Still good enough."""
        return monotonic() - self.at < seconds


class SlackPeople:
    """Looked up when they speak. Who is a guest, a bot, or from elsewhere is refused before anything
    else; what cannot be found out counts against a person, not for one."""

    def __init__(self, web: Web, role_members: Iterable[str]) -> None:
        self._web = web
        self._groups = [
            name for name in role_members if name.startswith((_GROUP, *_CHANNELS)) and name.isupper()
        ]
        self._people: dict[str, Cached] = {}
        self._members: dict[str, Cached] = {}
        self._channels: dict[str, Cached] = {}
        self._asking = asyncio.Lock()
        self.team = ""

    async def user(self, user: str, team: str) -> User:
        """The person; UserError when the bot is not for this one."""
        info = await self._info(user)
        if any(info.get(mark) for mark in STRANGERS) or user == "USLACKBOT":
            raise UserError(t("slack.not_for_you"))
        home = {info.get("team_id"), team or self.team}
        if self.team and home != {self.team}:
            raise UserError(t("slack.not_for_you"))
        profile = info.get("profile", {})
        name = profile.get("display_name") or profile.get("real_name") or info.get("name") or user
        return User(user, name, info.get("locale", ""), await self._memberships(user))

    async def check_channel(self, channel: str) -> bool:
        """Whether the bot may post there; UserError when people from elsewhere read it."""
        known = self._channels.get(channel)  # where it is no member it may be invited any moment
        if known is None or not known.fresh(GROUP_SECONDS) or not _may_post(known.found):
            try:
                info = (await self._web.ask("conversations.info", channel=channel))["channel"]
            except SlackRefused as error:
                if error.code != "channel_not_found":
                    raise
                info = {}  # private, and the bot is not in it
            known = self._remember(self._channels, channel, info)
        info = known.found
        if info.get("is_ext_shared") or info.get("is_pending_ext_shared"):
            raise UserError(t("slack.shared_channel"))
        return _may_post(info)

    async def _info(self, user: str) -> dict[str, Any]:
        known = self._people.get(user)
        if known is None or not known.fresh(PERSON_SECONDS):
            try:
                info = (await self._web.ask("users.info", user=user, include_locale=True))["user"]
            except SlackRefused:
                if known is None or not known.fresh(LOCALE_SECONDS):
                    raise UserError(t("slack.who_are_you")) from None
                return dict(known.found)  # Slack is busy: what it said today will do
            known = self._remember(self._people, user, info)
        return dict(known.found)

    async def _memberships(self, user: str) -> frozenset[str]:
        return frozenset([group for group in self._groups if user in await self._in(group)])

    async def _in(self, group: str) -> frozenset[str]:
        """Ids of the members; nobody, when Slack does not tell."""
        async with self._asking:
            known = self._members.get(group)
            if known is None or not known.fresh(GROUP_SECONDS):
                try:
                    members = frozenset(await self._fetch(group))
                except SlackRefused:
                    members = frozenset()
                known = self._remember(self._members, group, members)
        return frozenset(known.found)

    async def _fetch(self, group: str) -> list[str]:
        if group.startswith(_GROUP):
            return list((await self._web.ask("usergroups.users.list", usergroup=group))["users"])
        found: list[str] = []
        cursor = None
        while cursor != "":
            page = await self._web.ask("conversations.members", channel=group, limit=500, cursor=cursor)
            found += page["members"]
            cursor = page.get("response_metadata", {}).get("next_cursor", "")
        return found

    def _remember(self, cache: dict[str, Cached], key: str, found: Any) -> Cached:
        cache[key] = Cached(found)
        while len(cache) > PEOPLE_KEPT:
            del cache[next(iter(cache))]
        return cache[key]


def _may_post(channel: dict[str, Any]) -> bool:
    return bool(channel.get("is_member") or channel.get("is_im"))
