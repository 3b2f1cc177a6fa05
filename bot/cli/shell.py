"""What the commands for a shell share: exit codes, arguments read like a line of chat, refusals on stderr."""

import sys
from typing import TypeVar

from bot.app import wiring
from bot.app.settings import Settings
from bot.commands.help import about
from bot.core.chat.errors import UserError, refusal
from bot.core.chat.text import Say
from bot.grammar.command import Command
from bot.grammar.parsing import parse
from bot.platforms.console.render import render

Asked = TypeVar("Asked", bound=Command)
OK, FAILED, BAD_INPUT = 0, 1, 2
"""Exit codes."""


def read_arguments(words: list[str], command: type[Asked], settings: Settings) -> Asked:
    """The words of a shell, parsed like a line of chat that knows only this command; UserError as there."""
    line = " ".join(f'"{word}"' if " " in word else word for word in words)
    catalog = wiring.planner(settings).catalog
    found = parse(line, {command.verb: command}, lambda of: catalog.names())
    assert isinstance(found, command)
    return found


def asks_for_help(words: list[str]) -> bool:
    """Whether `--help` is among the words of a shell."""
    return not {"-h", "--help"}.isdisjoint(words)


def explain(command: type[Command], before: str, say: Say) -> None:
    """Print how a command is typed after the words `before`: its arguments, and examples."""
    print(render(about(command, before), say))


def complain(error: UserError, say: Say) -> None:
    """Print a refusal to stderr, with what would be right."""
    print(render(refusal(error), say), file=sys.stderr)


def speaker(settings: Settings) -> Say:
    """Speaks the language that settings name."""
    return wiring.phrasebook(settings).speaker(settings.language)
