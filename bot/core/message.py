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
    """One thing a person said."""

    text: str
    user: User
    place: Place


@dataclass(frozen=True, slots=True)
class Turn:
    """One side of a conversation with a model; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str
