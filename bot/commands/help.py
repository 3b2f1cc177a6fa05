"""/llm help [VERB] — what can be said; all of it is derived from the commands' fields."""

from pydantic import Field

from bot.core.access.roles import Role
from bot.core.chat.errors import UserError
from bot.core.chat.reply import Button, Reply
from bot.core.chat.text import Text, t, verbatim
from bot.grammar.command import Command, Context, Group, Replies, Rest, by_word, explain_field, spell


class Help(Command):
    verb = "help"
    group = Group.SEE
    examples = ("help", "help deploy")

    about: str | None = Field(None, max_length=60, examples=["deploy"])

    async def run(self, ctx: Context) -> Replies:
        if self.about is None:
            yield overview(ctx)
        else:
            command = by_word(ctx.commands).get(self.about.lower().removeprefix("/llm").strip())
            if command is None:
                hint = (Button(verbatim("/llm help"), "help"),)
                raise UserError(t("slip.verb", verb=self.about), buttons=hint)
            yield about(command)


def overview(ctx: Context) -> Reply:
    """Every command in a line, by group."""
    lines: list[Text] = []
    for group in Group:
        lines.append(t(f"help.{group.value}"))
        lines += [_line(command) for command in ctx.commands.values() if command.group is group]
    first = (Button(verbatim("/llm models"), "models"), Button(verbatim("/llm gpus"), "gpus"))
    return Reply(t("help.title"), lines=tuple(lines), buttons=first, footnote=t("help.more"))


def about(command: type[Command], before: str = "/llm") -> Reply:
    """One command: how it is typed, with `before` before the verb, its arguments with their defaults, and
    examples."""
    lines = [t("slip.usage", usage=f"{before} {command.usage()}")]
    fields = zip(command.model_fields, command.arguments().items(), strict=True)
    for name, (typed, field) in fields:
        default = None if field.is_required() else field.default
        text = explain_field(name, field)
        if default is None or default is False:
            lines.append(t("help.field", option=typed, what=text))
        else:
            lines.append(t("help.default", option=typed, what=text, default=spell(default)))
    if command.needs > Role.STUDENT:
        lines.append(t("help.needs", role=command.needs.label))
    return Reply(
        command.summary(),
        lines=tuple(lines),
        log="\n".join(f"{before} {example}" for example in command.examples),
    )


def _line(command: type[Command]) -> Text:
    """A command in a line, with the other words for it."""
    usage, what = _short(command), command.summary()
    if command.aliases:
        return t("help.line_alias", usage=usage, what=what, aliases=command.aliases)
    return t("help.line", usage=usage, what=what)


def _short(command: type[Command]) -> str:
    """The verb with its required arguments only."""
    words = [command.verb]
    free = any(field.annotation is Rest for field in command.model_fields.values())
    for position, (name, field) in enumerate(command.arguments().items()):
        if field.annotation is Rest:
            words.append("TEXT …")
        elif field.is_required():
            words.append(name.upper())
        elif position == 0 and not free:
            words.append(f"[{name.upper()}]")
    return " ".join(words)
