"""Every sentence that the bot says is there in every language, and gets what it needs."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bot.app.clock import SystemClock
from bot.core.chat.languages import LOCALES
from bot.core.chat.text import Phrasebook

SOURCES = sorted((Path(__file__).parents[1] / "bot").rglob("*.py"))
PHRASES = Phrasebook(LOCALES, SystemClock().now).sentences
ANY = r"[\w-]+"
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Module


class Said(NamedTuple):
    """A call of t(): what its key is, and the names of the parameters that the sentence gets."""

    where: str
    key: ast.expr
    given: frozenset[str]


def called(call: ast.Call) -> str:
    return str(getattr(call.func, "id", "") or getattr(call.func, "attr", ""))


def calls(tree: ast.Module) -> list[tuple[ast.Call, Scope]]:
    """Each call, and the function that it stands in."""
    found: list[tuple[ast.Call, Scope]] = []

    def visit(node: ast.AST, scope: Scope) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                found.append((child, scope))
            visit(child, child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else scope)

    visit(tree, tree)
    return found


def said_in(path: Path) -> Iterator[Said]:
    """Each call of t(); one that passes on the parameters of a helper, once for each call of the helper."""
    found = calls(ast.parse(path.read_text(encoding="utf-8")))
    for call, scope in found:
        if called(call) != "t":
            continue
        where = f"{path.stem}:{call.lineno}"
        given = frozenset(keyword.arg for keyword in call.keywords if keyword.arg)
        passed_on = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg is None]
        if not passed_on:
            yield Said(where, call.args[0], given)
            continue
        [name] = passed_on
        if (names := names_of(name, scope)) is not None:
            yield Said(where, call.args[0], given | names)
            continue
        assert isinstance(scope, ast.FunctionDef) and scope.args.kwarg and scope.args.kwarg.arg == name, where
        for outer, _ in found:
            if called(outer) == scope.name:
                more = {keyword.arg for keyword in outer.keywords if keyword.arg}
                yield Said(f"{path.stem}:{outer.lineno}", filled_in(call.args[0], scope, outer), given | more)


def names_of(name: str, scope: Scope) -> frozenset[str] | None:
    """The keys of the dict literal that the function assigns to a name."""
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Dict(keys=keys)) if target == name:
                return frozenset(str(key.value) for key in keys if isinstance(key, ast.Constant))
    return None


def filled_in(key: ast.expr, helper: ast.FunctionDef, call: ast.Call) -> ast.expr:
    """The key with what a call of the helper passes in the place of the helper's parameters."""
    parameters = [parameter.arg for parameter in helper.args.args if parameter.arg != "self"]
    values = dict(zip(parameters, call.args, strict=False))

    class Fill(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return values.get(node.id, node)

    filled = Fill().visit(ast.parse(ast.unparse(key), mode="eval").body)
    assert isinstance(filled, ast.expr)
    return filled


def keys(argument: ast.expr) -> list[str]:
    """The keys that an argument of t() can be: a literal, one of two, or a family by its pattern."""
    match argument:
        case ast.Constant(value=str(key)):
            return [key]
        case ast.IfExp(body=one, orelse=other):
            return keys(one) + keys(other)
        case ast.JoinedStr(values=parts):
            pattern = "".join(map(as_pattern, parts))
            return [key for key in PHRASES["en"] if re.fullmatch(pattern, key)]
    return []


def as_pattern(part: ast.expr) -> str:
    match part:
        case ast.Constant(value=value) | ast.FormattedValue(value=ast.Constant(value=value)):
            return re.escape(str(value))
    return ANY


def is_family(argument: ast.expr) -> bool:
    return isinstance(argument, ast.JoinedStr) and any(as_pattern(part) == ANY for part in argument.values)


def placeholders(sentence: str | dict[str, str]) -> set[str]:
    lines = sentence.values() if isinstance(sentence, dict) else [sentence]
    return {name for line in lines for _, name, _, _ in string.Formatter().parse(line) if name}


def needs(key: str) -> set[str]:
    sentence = PHRASES["en"][key]
    return placeholders(sentence) | ({"count"} if isinstance(sentence, dict) else set())


SAID = [said for path in SOURCES for said in said_in(path)]


def test_every_sentence_is_said_and_every_said_key_has_a_sentence() -> None:
    said = {key for one in SAID for key in keys(one.key)}
    by_variable = {
        value
        for path in SOURCES
        for value in re.findall(r'"([a-z_]+\.[a-z_]+)"', path.read_text(encoding="utf-8"))
        if value in PHRASES["en"]
    }
    assert said - set(PHRASES["en"]) == set()
    assert set(PHRASES["en"]) - said - by_variable == set()


@pytest.mark.parametrize("said", SAID, ids=lambda said: f"{said.where} {ast.unparse(said.key)[:50]}")
def test_every_sentence_gets_what_it_needs(said: Said) -> None:
    """Of a family (`f"status.{name}"`) some must: others of its section are said elsewhere."""
    found = keys(said.key)
    fitting = [key for key in found if needs(key) <= said.given]
    assert fitting if is_family(said.key) else fitting == found


@pytest.mark.parametrize("language", PHRASES)
def test_every_language_says_everything_with_the_same_parameters(language: str) -> None:
    english = {key: placeholders(sentence) for key, sentence in PHRASES["en"].items()}
    assert {key: placeholders(sentence) for key, sentence in PHRASES[language].items()} == english
