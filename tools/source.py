"""Reads the bot's own source: what stands under fields and constants, and which metrics it makes."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BOT = Path(__file__).parents[1] / "bot"
KINDS = {"Counter": "counter", "Histogram": "histogram", "Gauge": "gauge", "_gauge": "gauge"}
"""Calls that make a metric, and its kind."""


class Metric(NamedTuple):
    """A metric as Prometheus sees it; `labels` in the order of the code."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]


class Constant(NamedTuple):
    """A text that the code gives a name; `meaning` is the docstring under it, or nothing."""

    value: str
    meaning: str


def field_docstrings(model: type) -> dict[str, str]:
    """The docstring under each field of a class and of its parents in the bot, by the field's name."""
    found: dict[str, str] = {}
    for parent in reversed(model.__mro__):
        if parent.__module__.split(".")[0] == "bot":
            tree = ast.parse(inspect.getsource(inspect.getmodule(parent) or parent))
            classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
            body = next(node.body for node in classes if node.name == parent.__name__)
            found |= {name: text for name, _, text in _assigned(body) if text}
    return found


def constants(prefix: str) -> list[Constant]:
    """Every constant of a module whose text begins with `prefix`, sorted; f-strings of constants of the
    same module are put together."""
    found: dict[str, str] = {}
    for tree in _modules():
        known: dict[str, str] = {}
        for name, value, text in _assigned(tree.body):
            spelled = _spelled(value, known)
            known[name] = spelled
            if spelled.startswith(prefix) and spelled != prefix:
                found[spelled] = found.get(spelled) or text
    return [Constant(value, found[value]) for value in sorted(found)]


def metrics(prefix: str) -> list[Metric]:
    """Every metric that the code makes under a name that begins with `prefix`, sorted by name."""
    calls = (node for tree in _modules() for node in ast.walk(tree) if isinstance(node, ast.Call))
    found = (_metric(call, prefix) for call in calls)
    return sorted(metric for metric in found if metric)


def _modules() -> Iterator[ast.Module]:
    for path in sorted(BOT.rglob("*.py")):
        yield ast.parse(path.read_text(encoding="utf-8"))


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr | None, str]]:
    """Name, value and docstring of each assignment; a docstring is a text on the line after it."""
    for statement, after in zip(body, [*body[1:], None], strict=True):
        text = ""
        match after:
            case ast.Expr(value=ast.Constant(value=str(docstring))):
                text = inspect.cleandoc(docstring).replace("\n", " ")
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                yield name, value, text
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value, text


def _spelled(value: ast.expr | None, known: dict[str, str]) -> str:
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_spelled(part, known) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return known.get(name, "")
    return ""


def _metric(call: ast.Call, prefix: str) -> Metric | None:
    kind = KINDS.get(ast.unparse(call.func).rsplit(".", 1)[-1])
    texts = [_spelled(node, {}) for node in call.args[:2]]
    if kind is None or len(texts) < 2 or not texts[0].startswith(prefix):
        return None
    name = f"{texts[0]}_total" if kind == "counter" else texts[0]
    return Metric(name, kind, texts[1], tuple(_labels(call)))


def _labels(call: ast.Call) -> Iterator[str]:
    """The third argument, or `labels=`, a text or a list of texts."""
    named = [word.value for word in call.keywords if word.arg in ("label", "labels", "labelnames")]
    for given in [*call.args[2:3], *named]:
        for node in given.elts if isinstance(given, ast.List | ast.Tuple) else [given]:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
