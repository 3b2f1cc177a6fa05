"""The base of every command: a frozen model whose fields are its arguments, in the order in which they are
typed."""

import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, NewType

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from bot.core.access.roles import Access, Role
from bot.core.chat.duration import spell_duration
from bot.core.chat.languages import VERBS
from bot.core.chat.message import Place, User
from bot.core.chat.reply import Reply
from bot.core.chat.text import Text, or_else, t
from bot.core.fit.planning import Planner
from bot.core.ports import Clock, Cluster, Messenger
from bot.services.deployments.lifecycle import Lifecycle
from bot.services.idle.activity import Activity
from bot.services.operations.alerts import AlertService
from bot.services.operations.reports import Reports
from bot.services.questions.conversation import Conversation
from bot.services.questions.model_selector import ModelSelector
from bot.services.questions.pending_questions import PendingQuestions
from bot.services.startup.card_updater import CardUpdater
from bot.services.startup.progress import StartupProgress
from bot.services.web_ui.service import WebUiService

Replies = AsyncGenerator[Reply, str | None]
"""The replies of a command. Each replaces the one before; what is sent back is the id of the message that a
reply was posted as, or None if it was not posted."""

Rest = NewType("Rest", str)
"""The type of a command's last field if it takes the rest of the line as it is."""


class Group(StrEnum):
    """What people want to do; `help` groups commands by it."""

    RUN = "run"
    """Run models."""
    USE = "use"
    """Use models that run."""
    SEE = "see"
    """See how things are."""
    FREE = "free"
    """Free GPUs."""


@dataclass(frozen=True, slots=True)
class KnownName:
    """Marks a field whose value should be a name that exists, so that a wrong one can be corrected."""

    kind: str
    """What the name is of: `model` or `workload`."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a command may use."""

    access: Access
    """Roles and quotas."""
    activity: Activity
    """How much each model is used, and whether it is idle."""
    model_selector: ModelSelector
    """Chooses the model that a question is for."""
    alerts: AlertService
    """Alerts to admins."""
    clock: Clock
    """The time."""
    cluster: Cluster
    """The cluster on which models run."""
    conversation: Conversation
    """Asks models."""
    lifecycle: Lifecycle
    """Starts, changes and stops models, by the rules."""
    messenger: Messenger
    """Posts and edits messages."""
    planner: Planner
    """Judges whether a model fits; it has the catalog."""
    reports: Reports
    """Reports from the ledger."""
    card_updater: CardUpdater
    """Keeps cards up to date."""
    pending_questions: PendingQuestions
    """Questions that wait until a model is ready."""
    progress: StartupProgress
    """How far starting models are."""
    web_ui: WebUiService
    """Open WebUI."""

    def names(self, kind: str) -> list[str]:
        """The names that exist of a kind: those of all models for `model`, else those of all workloads."""
        if kind == "model":
            return self.planner.catalog.names()
        return [workload.name for workload in self.cluster.workloads()]


@dataclass(frozen=True, slots=True)
class Context:
    """What a command runs with."""

    user: User
    """The person who gave it."""
    place: Place
    """Where it was given."""
    services: Services
    """What it may use."""
    commands: Mapping[str, type["Command"]]
    """All commands by verb, for `help`."""


class Command(BaseModel, ABC):
    """Something that people can ask the bot for. Its fields are its arguments, in the order in which they are
    typed."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    verb: ClassVar[str]
    """The word that people type for it."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other words that people type for the verb; `by_word` finds the command by them too."""
    needs: ClassVar[Role] = Role.STUDENT
    """The role that a person needs at least."""
    group: ClassVar[Group]
    """Where `help` shows it."""
    examples: ClassVar[tuple[str, ...]] = ()
    """Lines that people could type, without `/llm`."""
    form: ClassVar[tuple[str, ...]] = ()
    """The fields of the form that is shown when a required argument is left out; empty: it has no form."""
    check: ClassVar[str] = ""
    """A verb that takes the same arguments and only says what would happen; empty: there is none."""

    @abstractmethod
    def run(self, ctx: Context) -> Replies:
        """Carry it out. UserError when that cannot be done."""

    @classmethod
    def summary(cls) -> Text:
        """What it does: the sentence `verb.VERB` of the locales; if there is none, the words after the dash
        in the first line of its file."""
        first, *_ = (sys.modules[cls.__module__].__doc__ or cls.verb).splitlines()
        return or_else(t(f"verb.{cls.verb}"), first.rpartition("— ")[2])

    @classmethod
    def arguments(cls) -> dict[str, FieldInfo]:
        """Its fields by the name that people type, such as `max-len`."""
        return {field.alias or name.replace("_", "-"): field for name, field in cls.model_fields.items()}

    @classmethod
    def usage(cls) -> str:
        """How it is typed: `deploy MODEL [tp=N] …`."""
        words = [cls.verb]
        free = any(field.annotation is Rest for field in cls.model_fields.values())
        for position, (name, field) in enumerate(cls.arguments().items()):
            if field.annotation is Rest:
                words.append(f"[{name.upper()} …]" if not field.is_required() else "TEXT …")
            elif field.is_required():
                words.append(name.upper())
            elif position == 0 and not free:
                words.append(f"[{name.upper()}]")
            else:
                words.append(f"[--{name}]" if field.annotation is bool else f"[{name}={_hint(field)}]")
        return " ".join(words)

    def line(self, **changes: Any) -> str:
        """The line that a person would type for it, with some fields changed."""
        values = {name: getattr(self, name) for name in self.model_fields_set} | changes
        words = [self.verb]
        for name, field in type(self).model_fields.items():
            value = values.get(name)
            if value is None or (value == field.default and not field.is_required()):
                continue
            spelled = spell(value)
            if field.is_required() or field.annotation is Rest:
                words.append(spelled)
            elif value is True:
                words.append(f"--{field.alias or name}")
            else:
                words.append(f"{field.alias or name.replace('_', '-')}={_quoted(spelled)}")
        return " ".join(words)


def by_word(commands: Mapping[str, type[Command]]) -> dict[str, type[Command]]:
    """The commands by all words for them. If a word has several meanings, a verb counts before an alias, and
    an alias before the words of the locales."""
    aliases = {alias: command for command in commands.values() for alias in command.aliases}
    words = {word: commands[verb] for word, verb in VERBS.items() if verb in commands}
    return {**words, **aliases, **commands}


def explain_field(name: str, field: FieldInfo) -> Text:
    """What a field is: the sentence `field.NAME` of the locales; if there is none, its description, or its
    name."""
    return or_else(t(f"field.{name}"), field.description or name.replace("_", " "))


def spell(value: Any) -> str:
    """The value as a person would type it: 4 hours as `4h`."""
    return spell_duration(value) if isinstance(value, timedelta) else str(value)


def _hint(field: FieldInfo) -> str:
    if field.default is not None:
        return spell(field.default)
    return str(field.examples[0]) if field.examples else "…"


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value
