"""`deploy qwen2.5-7b tp=2` → `Deploy(model="qwen2.5-7b", tensor_parallel_size=2)`."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NoReturn

from pydantic import ValidationError

from bot.core.chat.errors import UserError
from bot.core.chat.languages import UNTIL
from bot.core.chat.reply import Button
from bot.core.chat.text import t, verbatim
from bot.grammar.command import Command, Rest, by_word
from bot.grammar.suggestions import Names, explain, mend, similar

LONGEST = 20_000
"""Characters of a message that are read; the rest is ignored."""
MOST_WORDS = 100
"""Words of a command without free text that are read; the rest is ignored."""
_QUOTES = str.maketrans("“”„‟«»‘’‚", '""""""\'\'\'')
PREFIX = re.compile(r"\s*/llm(?=\s|$)", re.IGNORECASE)
_WORD = re.compile(
    r"""(?P<dash>--|[—–]{1,2})?(?P<key>[A-Za-z][\w-]{0,40}=)?"""
    r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')(?=\s|$)|(?P<bare>\S+)"""
)
_JOINED = re.compile(
    rf"({'|'.join(map(re.escape, UNTIL))}"
    r"|hours=[^\W\d_]+(?:-[^\W\d_]+)?)\s+(?=\d{1,2}(?::\d\d|-\d))",
    re.IGNORECASE,
)
"""`until 22:00` and `hours=mo-fr 8-20` are one word each."""
_OPTION = re.compile(r"(?:--|[—–]{1,2})?([A-Za-z][\w-]{0,40})=(.*)", re.DOTALL)
_FLAG = re.compile(r"(?:--|[—–]{1,2})([A-Za-z][\w-]{0,40})")


class Missing(UserError):
    """A required argument is left out, and nothing else is wrong: a form can ask for it."""

    def __init__(self, command: type[Command], arguments: Mapping[str, Any]) -> None:
        required = (name for name, field in command.arguments().items() if field.is_required())
        there = {field.alias or name for name, field in command.model_fields.items() if name in arguments}
        name = next(name for name in required if name not in there)
        usage = t("slip.usage", usage=f"/llm {command.usage()}")
        super().__init__(t("slip.missing", option=name), lines=(usage,))
        self.command = command
        """Which command it is."""
        self.arguments = arguments
        """The arguments that are there, by field."""


def parse(text: str, commands: Mapping[str, type[Command]], names: Names) -> Command:
    """The command that a line stands for; UserError says what is wrong, and what was probably meant.

    `names` gives the names that exist of a kind, `model` or `workload`."""
    text = PREFIX.sub("", text[:LONGEST], count=1).strip()
    verb, _, line = text.partition(" ") if "\n" not in text.split(" ")[0] else text.partition("\n")
    words = by_word(commands)
    command = words.get(verb.lower() or "help")
    if command is None:
        _unknown_verb(verb, line, words, names)
    arguments, unknown_options, surplus = pair(command, line)
    if unknown_options or surplus:
        _refuse_unknown(command, arguments, unknown_options, surplus, names)
    try:
        return command.model_validate(arguments)
    except ValidationError as error:
        if all(problem["type"] == "missing" for problem in error.errors()):
            raise Missing(command, arguments) from None
        raise UserError(
            explain(command, error),
            lines=(t("slip.usage", usage=f"/llm {command.usage()}"),),
            buttons=_correction(mend(command, arguments, names)),
        ) from None


def pair(command: type[Command], line: str) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Pair the words of a line with fields. Returns the arguments by field, options that do not exist with
    their values, and words that are too many. UserError if an option is there twice."""
    fields = list(command.model_fields)
    if fields and command.model_fields[fields[-1]].annotation is Rest:
        return _with_rest(command, line), {}, []
    arguments: dict[str, Any] = {}
    unknown_options: dict[str, str] = {}
    positional: list[str] = []
    words = islice(_words(line), MOST_WORDS)
    for word in words:
        key, value = _option(word, words, command)
        if not key:
            positional.append(value)
        elif field := _field(command, key):
            if field in arguments:
                raise UserError(t("slip.twice", option=key))
            arguments[field] = value
        else:
            unknown_options[key] = value
    flags = [name for name, field in command.model_fields.items() if field.annotation is bool]
    free = [name for name in fields if name not in (*arguments, *flags)]
    arguments |= dict(zip(free, positional, strict=False))
    return arguments, unknown_options, positional[len(free) :]


def _with_rest(command: type[Command], line: str) -> dict[str, Any]:
    """Arguments of a command that takes the rest of the line: options stand before or after the first word,
    and anything else is the text as it is."""
    arguments: dict[str, Any] = {}
    last = list(command.model_fields)[-1]
    first, position = "", 0
    straight = line.translate(_QUOTES)  # as long as the line itself
    while match := _WORD.search(straight, position):
        option = _OPTION.fullmatch(match[0])
        field = _field(command, option[1]) if option else None
        if option and field and field != last:
            arguments[field] = _unquoted(match, option[2])
        elif not first:
            first = line[match.start() : match.end()]
        else:
            break
        position = match.end()
    rest = line[position:].strip()
    text = f"{first} {rest}" if rest else first
    return arguments | {last: text} if text else arguments


def _words(line: str) -> Any:
    """The words of a line; quoted ones without quotes, options as `key=value`."""
    for match in _WORD.finditer(_JOINED.sub(r"\1,", line.translate(_QUOTES))):
        if match["bare"] is not None:
            yield match["bare"]
        else:
            yield f"{match['dash'] or ''}{match['key'] or ''}{_unquoted(match, '')}"


def _unquoted(match: re.Match[str], otherwise: str) -> str:
    if match["bare"] is not None:
        return otherwise
    return match["double"] if match["double"] is not None else match["single"] or ""


def _option(word: str, words: Any, command: type[Command]) -> tuple[str, str]:
    """`key=value`, `--key=value`, `--key value` and `--flag`; any other word has no key."""
    if match := _OPTION.fullmatch(word):
        return match[1], match[2]
    if match := _FLAG.fullmatch(word):
        field = _field(command, match[1])
        if field and command.model_fields[field].annotation is bool:
            return match[1], "yes"
        return match[1], next(words, "")
    return "", word


def _field(command: type[Command], key: str) -> str | None:
    """The field of that name, short or full, in upper or lower case; None if there is none."""
    wanted = key.lower().replace("-", "_")
    for name, field in command.model_fields.items():
        if wanted in (name, (field.alias or name).replace("-", "_")):
            return name
    return None


def _unknown_verb(verb: str, line: str, words: Mapping[str, type[Command]], names: Names) -> NoReturn:
    guess = similar(verb, words)
    if guess is None:
        hint = (Button(verbatim("/llm help"), "help"),)
        raise UserError(t("slip.verb", verb=verb[:60]), buttons=hint)
    try:
        arguments, _, _ = pair(words[guess], line)
    except UserError:
        arguments = {}
    meant = mend(words[guess], arguments, names) or f"help {words[guess].verb}"
    raise UserError(t("slip.verb_meant", verb=verb[:60]), buttons=_correction(meant))


def _refuse_unknown(
    command: type[Command],
    arguments: dict[str, Any],
    unknown_options: dict[str, str],
    surplus: list[str],
    names: Names,
) -> NoReturn:
    """UserError that says which option or word does not belong, and what the line was probably meant to
    be."""
    for key, value in unknown_options.items():
        guess = similar(key, command.arguments())
        if guess and (field := _field(command, guess)):
            arguments.setdefault(field, value)
    wrong = next(iter(unknown_options), "")
    if wrong:
        text = t("slip.option", verb=command.verb, option=wrong)
    else:
        text = t("slip.surplus", verb=command.verb, word=surplus[0][:60])
    raise UserError(
        text,
        lines=(t("slip.usage", usage=f"/llm {command.usage()}"),),
        buttons=_correction(mend(command, arguments, names)),
    )


def _correction(line: str | None) -> tuple[Button, ...]:
    return (Button(verbatim(f"/llm {line}"), line),) if line else ()
