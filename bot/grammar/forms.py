"""The form of a command, derived from its fields; only values that work on this cluster can be picked."""

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from bot.core.chat.form import Blank, Choice, Form
from bot.core.chat.text import or_else, t, verbatim
from bot.core.chat.units import Tokens
from bot.core.fit.gpu import FORMATS, Quantization
from bot.core.fit.planning import Planner
from bot.grammar.command import Command, KnownName, Services, explain_field, spell


def form_of(
    command: type[Command],
    arguments: Mapping[str, Any],
    services: Services,
    commands: Mapping[str, type[Command]],
) -> Form:
    """The form, with these arguments (by field) filled in."""
    blanks = []
    checked = commands[command.check].model_fields if command.check else ()
    for name in command.form:
        field = command.model_fields[name]
        typed = field.alias or name.replace("_", "-")
        choices = _choices(name, field.metadata, services.planner)
        value = spell(arguments.get(name, ""))
        blanks.append(
            Blank(
                typed,
                explain_field(name, field),
                choices,
                value,
                required=field.is_required(),
                checked=name in checked,
            )
        )
    title = or_else(t(f"form.{command.verb}"), command.verb)
    submit = or_else(t(f"button.{command.verb}"), command.verb)
    return Form(title, command.verb, tuple(blanks), submit, command.check)


def _choices(name: str, marks: list[Any], planner: Planner) -> tuple[Choice, ...]:
    gpu = planner.gpu
    if KnownName("model") in marks:
        return _models(planner)
    if name == "tensor_parallel_size":
        sizes = takewhile(lambda size: size <= gpu.per_node, (1, 2, 4, 8))
        return tuple(Choice(str(size), verbatim(f"tp {size}")) for size in sizes)
    if name == "quantization":
        usable = [q for q in Quantization if FORMATS[q].capability <= gpu.capability]
        return tuple(Choice(q, verbatim(FORMATS[q].label)) for q in usable)
    return ()


def _models(planner: Planner) -> tuple[Choice, ...]:
    """The models that can run on these GPUs, each with the smallest way to start it."""
    choices = []
    for entry in planner.catalog.entries.values():
        option = planner.smallest_option(entry)
        if option is not None:
            label = t(
                "form.model",
                model=entry.key,
                tp=option.setup.tensor_parallel_size,
                format=FORMATS[option.setup.quantization].label,
                context=Tokens(option.setup.max_model_len),
            )
            choices.append(Choice(entry.key, label))
    return tuple(choices)
