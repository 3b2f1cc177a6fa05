"""One file for each command. A new file here is a new command, in `/llm help` too."""

from importlib import import_module
from pkgutil import iter_modules

from bot.grammar.command import Command


def _all() -> dict[str, type[Command]]:
    commands = {}
    for module in iter_modules(__path__):
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Command) and "verb" in vars(value):
                commands[value.verb] = value
    return commands


COMMANDS: dict[str, type[Command]] = _all()
"""Every command by its verb."""
