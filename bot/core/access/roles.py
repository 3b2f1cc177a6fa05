"""Who may do what, and how much of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.chat.text import Text, t


class Role(IntEnum):
    """Each may do all that the one before it may."""

    STUDENT = 1
    RESEARCHER = 2
    ADMIN = 3

    @property
    def said(self) -> Text:
        """The role's name in a sentence."""
        return t(f"role.{self.name.lower()}")


@dataclass(frozen=True, slots=True)
class Quota:
    """What one person of a role may hold at once; None is no limit."""

    gpus: int | None = None
    deployments: int | None = None
    tensor_parallel_size: int | None = None
    ttl: timedelta | None = None


class Access:
    """Roles by user id, group or channel; whoever is named nowhere is a student."""

    def __init__(self, members: Mapping[Role, frozenset[str]], quotas: Mapping[Role, Quota]) -> None:
        self._members = members
        self._quotas = quotas

    def role(self, user: User) -> Role:
        """The highest role that names the person or one of the person's groups."""
        known = {user.id} | user.groups
        return max(
            (role for role, members in self._members.items() if members & known),
            default=Role.STUDENT,
        )

    def quota(self, user: User) -> Quota:
        """What the person may hold at once."""
        return self._quotas.get(self.role(user), Quota())

    def require(self, user: User, role: Role) -> None:
        """Refuse whoever has a lower role, and say who can."""
        if self.role(user) < role:
            raise UserError(t("access.needs_role", role=role.said), lines=self.who_can(role))

    def who_can(self, role: Role) -> tuple[Text, ...]:
        """A line that names the people and groups of `role` and above, if settings name any."""
        names = sorted(name for have, members in self._members.items() if have >= role for name in members)
        return (t("access.who_can", who=", ".join(names[:8])),) if names else ()
