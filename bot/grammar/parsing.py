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
"""Characters of one message that are read at all; a chat message is shorter."""
MOST_WORDS = 100
"""Of a command without free text; what follows can only be a mistake as well."""
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
    """Nothing is wrong with a line, but something is left out; a form can ask for it."""

    def __init__(self, command: type[Command], given: Mapping[str, Any]) -> None:
        required = (name for name, field in command.arguments().items() if field.is_required())
        given_names = {field.alias or name for name, field in command.model_fields.items() if name in given}
        name = next(name for name in required if name not in given_names)
        usage = t("slip.usage", usage=f"/llm {command.usage()}")
        super().__init__(t("slip.missing", option=name), lines=(usage,))
        self.command = command
        self.given = given


def parse(text: str, commands: Mapping[str, type[Command]], names: Names) -> Command:
    """The command that `text` is; UserError says what is wrong, and what was probably meant.

    `names` gives the names that a `Known` field may have."""
    text = PREFIX.sub("", text[:LONGEST], count=1).strip()
    verb, _, line = text.partition(" ") if "\n" not in text.split(" ")[0] else text.partition("\n")
    words = by_word(commands)
    command = words.get(verb.lower() or "help")
    if command is None:
        _unknown_verb(verb, line, words, names)
    given, strange, surplus = pair(command, line)
    if strange or surplus:
        _strange(command, given, strange, surplus, names)
    try:
        return command.model_validate(given)
    except ValidationError as error:
        if all(problem["type"] == "missing" for problem in error.errors()):
            raise Missing(command, given) from None
        raise UserError(
            explain(command, error),
            lines=(t("slip.usage", usage=f"/llm {command.usage()}"),),
            buttons=_instead(mend(command, given, names)),
        ) from None


def pair(command: type[Command], line: str) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Pair words with fields: what was given, options we do not have, and words too many."""
    fields = list(command.model_fields)
    if fields and command.model_fields[fields[-1]].annotation is Rest:
        return _with_rest(command, line), {}, []
    given: dict[str, Any] = {}
    strange: dict[str, str] = {}
    plain: list[str] = []
    words = islice(_words(line), MOST_WORDS)
    for word in words:
        key, value = _option(word, words, command)
        if not key:
            plain.append(value)
        elif field := _field(command, key):
            if field in given:
                raise UserError(t("slip.twice", option=key))
            given[field] = value
        else:
            strange[key] = value
    flags = [name for name, field in command.model_fields.items() if field.annotation is bool]
    free = [name for name in fields if name not in (*given, *flags)]
    given |= dict(zip(free, plain, strict=False))
    return given, strange, plain[len(free) :]


def _with_rest(command: type[Command], line: str) -> dict[str, Any]:
    """Options stand before or after the first word; all else is the text, untouched."""
    given: dict[str, Any] = {}
    last = list(command.model_fields)[-1]
    first, position = "", 0
    straight = line.translate(_QUOTES)  # as long as the line itself
    while found := _WORD.search(straight, position):
        option = _OPTION.fullmatch(found[0])
        field = _field(command, option[1]) if option else None
        if option and field and field != last:
            given[field] = _unquoted(found, option[2])
        elif not first:
            first = line[found.start() : found.end()]
        else:
            break
        position = found.end()
    rest = line[position:].strip()
    text = f"{first} {rest}" if rest else first
    return given | {last: text} if text else given


def _words(line: str) -> Any:
    """The words of a line; quoted ones without quotes, options as `key=value`."""
    for found in _WORD.finditer(_JOINED.sub(r"\1,", line.translate(_QUOTES))):
        if found["bare"] is not None:
            yield found["bare"]
        else:
            yield f"{found['dash'] or ''}{found['key'] or ''}{_unquoted(found, '')}"


def _unquoted(found: re.Match[str], otherwise: str) -> str:
    if found["bare"] is not None:
        return otherwise
    return found["double"] if found["double"] is not None else found["single"] or ""


def _option(word: str, words: Any, command: type[Command]) -> tuple[str, str]:
    """`key=value`, `--key=value`, `--key value` and `--flag`; a plain word has no key."""
    if found := _OPTION.fullmatch(word):
        return found[1], found[2]
    if found := _FLAG.fullmatch(word):
        field = _field(command, found[1])
        if field and command.model_fields[field].annotation is bool:
            return found[1], "yes"
        return found[1], next(words, "")
    return "", word


def _field(command: type[Command], key: str) -> str | None:
    """The field that is called so: by its short or its full name, whatever the case."""
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
        given, _, _ = pair(words[guess], line)
    except UserError:
        given = {}
    meant = mend(words[guess], given, names) or f"help {guess}"
    raise UserError(t("slip.verb_meant", verb=verb[:60]), buttons=_instead(meant))


def _strange(
    command: type[Command],
    given: dict[str, Any],
    strange: dict[str, str],
    surplus: list[str],
    names: Names,
) -> NoReturn:
    """Say which option or word does not belong, and what the line was probably meant to be."""
    for key, value in strange.items():
        guess = similar(key, command.arguments())
        if guess and (field := _field(command, guess)):
            given.setdefault(field, value)
    wrong = next(iter(strange), "")
    if wrong:
        text = t("slip.option", verb=command.verb, option=wrong)
    else:
        text = t("slip.surplus", verb=command.verb, word=surplus[0][:60])
    raise UserError(
        text,
        lines=(t("slip.usage", usage=f"/llm {command.usage()}"),),
        buttons=_instead(mend(command, given, names)),
    )


def _instead(line: str | None) -> tuple[Button, ...]:
    return (Button(verbatim(f"/llm {line}"), line),) if line else ()
