"""What a person typed or clicked, and where: the same for every chat platform."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A thread of a channel, where replies and later news go."""

    platform: str
    """The name of the platform's folder in `bot/platforms/`: `slack`, `mattermost`, `console`."""
    channel: str
    """The platform's id of the channel or direct message."""
    thread: str = ""
    """The platform's id of the message that began the thread; empty: the channel itself."""


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account on a platform."""

    id: str
    """The same on every visit, and different from that of anybody on another platform: `slack:U0ADA`."""
    name: str
    """What the person is called in chat."""
    locale: str = "en"
    """The locale of the account: `de`, `de-DE`, `en_US`."""
    groups: frozenset[str] = frozenset()
    """Ids of the groups and channels that the person is in: settings may give a role to one of them."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that a person typed or clicked."""

    text: str
    """The line as it was typed, or the command of the button that was clicked."""
    user: User
    """The person who typed or clicked."""
    place: Place
    """Where that was; the replies go there."""
    free: bool = False
    """The text is a question to a model unless it reads like a command: it was not typed after `/llm`."""
    about: str = ""
    """The `Workload.identity` of the deployment that a clicked button was shown for; empty: any."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation with a model, as OpenAI's API has it."""

    role: str
    """Who wrote it: `system`, `user` or `assistant`."""
    content: str
    """What was written: plain text or Markdown."""
    workload: str = ""
    """The name of the deployment that answered; empty unless the role is `assistant`."""
