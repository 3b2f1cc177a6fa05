"""Who may speak to the bot in Mattermost, in which language, and which groups a person belongs to."""

from collections.abc import Iterable
from typing import Any

from cachetools import TTLCache

from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.chat.text import t
from bot.platforms.mattermost.rest import MattermostRefused, RestClient

SECONDS, KEPT = 300.0, 5000
SYSTEM_ADMIN = "system_admin"


class MattermostPeople:
    """People are looked up when they write; guests, bots and people of other servers are refused. A setting
    names a person or a private channel by id, or a private channel as `team/channel`."""

    def __init__(self, rest: RestClient, role_members: Iterable[str]) -> None:
        self._rest = rest
        self._named = [name for name in role_members if "/" in name or (len(name) == 26 and name.isalnum())]
        self._people: TTLCache[str, User] = TTLCache(KEPT, SECONDS)
        self._conversations: TTLCache[str, str] = TTLCache(KEPT, SECONDS)

    async def user(self, user: str) -> User:
        """The person with this id; UserError when the bot is not for them."""
        known = self._people.get(user)
        if known is None:
            known = self._people[user] = await self._look_up(user)
        return known

    def forget(self, user: str) -> None:
        """Look the person up again next time."""
        self._people.pop(user, None)

    async def conversation(self, channel: str) -> str:
        """The type of a channel (O, P, D or G); empty where the bot is no member."""
        if kind := self._conversations.get(channel):
            return kind
        channels = self._rest.api.channels
        try:
            await channels.get_channel_member(channel, self._rest.me)
            kind = str((await channels.get_channel(channel))["type"])
        except MattermostRefused as error:
            if error.status not in (403, 404):
                raise
            return ""
        self._conversations[channel] = kind
        return kind

    async def channels_without_role(self) -> list[str]:
        """The channels that settings give a role to in vain: they are public. Other ids may be people's."""
        return [name for name in self._named if (await self._channel(name)).get("type") == "O"]

    async def _look_up(self, user: str) -> User:
        try:
            info = await self._rest.api.users.get_user(user)
        except MattermostRefused:
            raise UserError(t("mattermost.who_are_you")) from None
        roles = set(info["roles"].split())
        strange = info.get("is_bot") or info.get("delete_at") or info.get("remote_id")
        if strange or "system_user" not in roles:  # a guest is none
            raise UserError(t("mattermost.not_for_you"))
        groups = {name for name in self._named if name != user and await self._in(name, user)}
        groups |= roles & {SYSTEM_ADMIN}
        return User(user, info["username"], info.get("locale", ""), frozenset(groups))

    async def _in(self, name: str, user: str) -> bool:
        """Whether the person is a member of a private channel; a public one, which anybody may join, does not
        count."""
        channel = await self._channel(name)
        if channel.get("type") != "P":
            return False
        try:
            return bool(await self._rest.api.channels.get_channel_member(channel["id"], user))
        except MattermostRefused:
            return False

    async def _channel(self, name: str) -> dict[str, Any]:
        """The channel with this id or name; empty where the server does not tell."""
        channels = self._rest.api.channels
        try:
            if "/" in name:
                return dict(await channels.get_channel_by_name_and_team_name(*name.split("/", 1)))
            return {"id": name, **await channels.get_channel(name)}
        except MattermostRefused:
            return {}
