"""Roles of people, and what a person of a role may do and hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from bot.core.chat.errors import UserError
from bot.core.chat.message import User
from bot.core.chat.text import Text, t


class Role(IntEnum):
    """What a person may do. Each role may do all that the one before it may. The values are stored."""

    STUDENT = 1
    """Everybody: may run the models of the catalog."""
    RESEARCHER = 2
    """May also run repositories that are not in the catalog."""
    ADMIN = 3
    """May also change the deployments of others, and hears of alerts."""

    @property
    def label(self) -> Text:
        """The role as people read it."""
        return t(f"role.{self.name.lower()}")


@dataclass(frozen=True, slots=True)
class Quota:
    """What one person of a role may hold at once."""

    gpus: int | None = None
    """GPUs of all deployments together; None: no limit."""
    deployments: int | None = None
    """Deployments, asleep or not; None: no limit."""
    tensor_parallel_size: int | None = None
    """GPUs of one replica; None: no limit."""
    ttl: timedelta | None = None
    """How long a lease may be; None: no limit, and a deployment needs no lease."""

    def largest_more(self, gpus: int, deployments: int) -> int | None:
        """On how many GPUs one more deployment may run beside the `gpus` and `deployments` that are held;
        0: there may be none. None: no limit."""
        if self.deployments is not None and deployments >= self.deployments:
            return 0
        left = None if self.gpus is None else max(0, self.gpus - gpus)
        return min((n for n in (left, self.tensor_parallel_size) if n is not None), default=None)


class Access:
    """The roles of people: `members` are user ids, groups or channels by role. Anybody else is a student."""

    def __init__(self, members: Mapping[Role, frozenset[str]], quotas: Mapping[Role, Quota]) -> None:
        self._members = members
        self._quotas = quotas

    def role(self, user: User) -> Role:
        """The highest role that names the person or one of the person's groups."""
        ids = {user.id} | user.groups
        return max(
            (role for role, members in self._members.items() if members & ids),
            default=Role.STUDENT,
        )

    def quota(self, user: User) -> Quota:
        """What the person may hold at once, by role."""
        return self.quota_of(self.role(user))

    def quota_of(self, role: Role) -> Quota:
        """What one person of that role may hold at once."""
        return self._quotas.get(role, Quota())

    def require(self, user: User, role: Role) -> None:
        """UserError if the person has a lower role; it says who has this one."""
        if self.role(user) < role:
            raise UserError(t("access.needs_role", role=role.label), lines=self.who_can(role))

    def who_can(self, role: Role) -> tuple[Text, ...]:
        """A line that names people and groups of `role` or a higher one; empty if the settings name none."""
        who = self.names(role)
        return (t("access.who_can", who=who),) if who else ()

    def names(self, role: Role) -> str:
        """People and groups of `role` or a higher one, as many as one reads; empty if the settings name
        none."""
        names = sorted(
            name for member_role, members in self._members.items() if member_role >= role for name in members
        )
        return ", ".join(names[:8])
