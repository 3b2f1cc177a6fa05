"""Who may speak to the bot, in which language, and to which groups a person belongs."""

import asyncio
from collections.abc import Iterable
from typing import Any

from cachetools import TTLCache

from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.chat.text import t
from bot.platforms.slack.web import SlackRefused, SlackWeb

PERSON_SECONDS, GROUP_SECONDS, DAY_SECONDS = 300.0, 300.0, 86_400.0
PEOPLE_KEPT = 5000
STRANGERS = ("is_bot", "deleted", "is_restricted", "is_ultra_restricted", "is_stranger", "is_workflow_bot")
_GROUP, _CHANNELS = "S", ("C", "G")
Info = dict[str, Any]
"""An object of Slack's: a user or a conversation."""


class SlackPeople:
    """People are looked up when they write. Guests, bots and people of other workspaces are refused before
    anything else; if Slack does not say who somebody is, they are refused too. Of channels only private ones
    count: anybody may join a public one."""

    def __init__(self, web: SlackWeb, role_members: Iterable[str]) -> None:
        self._web = web
        self._groups = [
            name for name in role_members if name.startswith((_GROUP, *_CHANNELS)) and name.isupper()
        ]
        self._people: TTLCache[str, Info] = TTLCache(PEOPLE_KEPT, PERSON_SECONDS)
        self._people_today: TTLCache[str, Info] = TTLCache(PEOPLE_KEPT, DAY_SECONDS)
        """For while Slack is busy: what it said of a person today will do."""
        self._members: TTLCache[str, frozenset[str]] = TTLCache(PEOPLE_KEPT, GROUP_SECONDS)
        self._channels: TTLCache[str, Info] = TTLCache(PEOPLE_KEPT, GROUP_SECONDS)
        self._asking = asyncio.Lock()
        self.team = ""

    async def user(self, user: str, team: str) -> User:
        """The person with this id; UserError when the bot is not for them."""
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
        info = self._channels.get(channel)
        if info is None or not _may_post(info):  # where it is no member it may be invited any moment
            try:
                info = (await self._web.read("conversations.info", channel=channel))["channel"]
            except SlackRefused as error:
                if error.code != "channel_not_found":
                    raise
                info = {}  # private, and the bot is not in it
            self._channels[channel] = info
        if info.get("is_ext_shared") or info.get("is_pending_ext_shared"):
            raise UserError(t("slack.shared_channel"))
        return _may_post(info)

    async def channels_without_role(self) -> list[str]:
        """The channels that settings give a role to in vain: they are public, or Slack does not tell."""
        channels = [group for group in self._groups if not group.startswith(_GROUP)]
        return [channel for channel in channels if not await self._is_private(channel)]

    async def _is_private(self, channel: str) -> bool:
        try:
            info = (await self._web.read("conversations.info", channel=channel))["channel"]
        except SlackRefused:
            return False
        return info.get("is_private") is True

    async def _info(self, user: str) -> Info:
        if (info := self._people.get(user)) is not None:
            return info
        try:
            info = (await self._web.read("users.info", user=user, include_locale=True))["user"]
        except SlackRefused:
            if (info := self._people_today.get(user)) is None:
                raise UserError(t("slack.who_are_you")) from None
        else:
            self._people[user] = self._people_today[user] = info
        return info

    async def _memberships(self, user: str) -> frozenset[str]:
        return frozenset([group for group in self._groups if user in await self._in(group)])

    async def _in(self, group: str) -> frozenset[str]:
        """Ids of a group's members; empty when Slack does not tell."""
        async with self._asking:
            members = self._members.get(group)
            if members is None:
                try:
                    members = frozenset(await self._fetch(group))
                except SlackRefused:
                    members = frozenset()
                self._members[group] = members
        return members

    async def _fetch(self, group: str) -> list[str]:
        if group.startswith(_GROUP):
            return list((await self._web.read("usergroups.users.list", usergroup=group))["users"])
        found: list[str] = []
        cursor = None if await self._is_private(group) else ""
        while cursor != "":
            page = await self._web.read("conversations.members", channel=group, limit=500, cursor=cursor)
            found += page["members"]
            cursor = page.get("response_metadata", {}).get("next_cursor", "")
        return found


def _may_post(channel: Info) -> bool:
    return bool(channel.get("is_member") or channel.get("is_im"))
