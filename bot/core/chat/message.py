"""Who asked for what, and where: the same shape for every platform."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A thread of a channel, where replies and later news go."""

    platform: str
    channel: str
    thread: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """A person; `groups` are the ids of groups and channels that settings may give a role to."""

    id: str
    name: str
    locale: str = "en"
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Message:
    """One thing a person said.

    `free` text is a question unless it is a command; a click is `about` the deployment that its
    button was shown for."""

    text: str
    user: User
    place: Place
    free: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One side of a conversation; `role` is `system`, `user` or `assistant`, `workload` who answered."""

    role: str
    content: str
    workload: str = ""
