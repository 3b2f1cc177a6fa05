"""The promises of README, kept by a machine."""

import ast
import re
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings

from bot.app.clock import SystemClock
from bot.app.settings import Settings, platform_settings_classes
from bot.cli.plan import OfflinePlan
from bot.cluster.rights import RIGHTS
from bot.commands import COMMANDS
from bot.core.chat.languages import LOCALES
from bot.core.chat.text import Phrasebook
from bot.core.fit.catalog import read_catalog
from bot.grammar.command import Command
from bot.grammar.fields import ModelRequest

ROOT = Path(__file__).parents[1]
BOT = ROOT / "bot"
SOURCES = sorted(BOT.rglob("*.py"))
PHRASES = Phrasebook(LOCALES, SystemClock().now).sentences
SIMULATOR_LINES = 800
SLACK_SCOPES = {  # what each method of Slack's needs
    "chat.postMessage": "chat:write",
    "conversations.info": "channels:read groups:read im:read",
    "conversations.open": "im:write",
    "conversations.replies": "channels:history groups:history im:history",
    "files_upload_v2": "files:write",
    "users.info": "users:read",
    "usergroups.users.list": "usergroups:read",
    "assistant.threads.setStatus": "assistant:write",
}
NO_METHOD = {"commands", "app_mentions:read"}


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_verb_lives_in_the_file_of_its_name_and_its_first_line_is_how_it_is_typed(verb: str) -> None:
    command = COMMANDS[verb]
    assert command.__module__ == f"bot.commands.{verb}"
    first = (BOT / "commands" / f"{verb}.py").read_text().splitlines()[0]
    assert first.startswith(f'"""/llm {verb}')


@pytest.mark.parametrize("command", [*COMMANDS.values(), OfflinePlan], ids=lambda command: command.verb)
def test_every_verb_and_field_is_explained_in_help(command: type[Command] | type[OfflinePlan]) -> None:
    assert f"verb.{command.verb}" in PHRASES["en"]
    assert {f"field.{name}" for name in command.model_fields} <= set(PHRASES["en"])
    assert command.examples or command is OfflinePlan


def test_no_two_classes_have_the_same_name() -> None:
    names = Counter(
        node.name
        for path in SOURCES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(BOT)))
def test_files_and_functions_stay_small_and_files_say_what_they_are(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 300
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "line 1 says what the file is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno and node.end_lineno - node.lineno < 40, node.name


def test_the_simulator_stays_a_small_thing() -> None:
    files = (BOT / "simulator").rglob("*.py")
    assert sum(len(path.read_text().splitlines()) for path in files) < SIMULATOR_LINES


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def read(kind: type[BaseSettings], file: Path | None) -> BaseSettings:
    return kind(_env_file=file)


def test_every_setting_is_in_the_example_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    kinds: list[type[BaseSettings]] = [Settings, *platform_settings_classes().values()]
    for kind in kinds:
        example = read(kind, ROOT / ".env.example")
        assert example.model_dump() == read(kind, None).model_dump()
        for name in kind.model_fields:
            assert re.search(rf"^{name.upper()}=", text, re.MULTILINE), name


def test_the_settings_of_a_platform_begin_with_its_name() -> None:
    for name, kind in platform_settings_classes().items():
        assert all(field.startswith(f"{name}_") for field in kind.model_fields)


def test_the_role_grants_just_the_rights_that_doctor_checks() -> None:
    def granted(file: str, kind: str) -> list[tuple[str, ...]]:
        documents = yaml.safe_load_all((ROOT / "manifests" / "bot" / file).read_text())
        rules = next(d["rules"] for d in documents if d["kind"] == kind)
        fields = ("apiGroups", "resources", "verbs")
        named = [[rule[field] for field in fields] + [rule.get("resourceNames", [""])] for rule in rules]
        return sorted(one for parts in named for one in product(*parts))

    def checked(everywhere: bool) -> list[tuple[str, ...]]:
        rights = [right for right in RIGHTS if right.everywhere == everywhere]
        named = [([r.group], [r.resource], r.verbs, r.names or ("",)) for r in rights]
        return sorted(one for parts in named for one in product(*parts))

    assert granted("role.yaml", "Role") == checked(everywhere=False)
    assert granted("cluster-role.yaml", "ClusterRole") == checked(everywhere=True)


def test_the_catalog_is_as_large_as_promised_and_every_caution_has_a_sentence() -> None:
    cards = read_catalog(ROOT / "manifests" / "catalog.yaml").entries.values()
    assert len(cards) >= 25
    for card in cards:
        assert not card.caution or f"caution.{card.caution}" in PHRASES["en"]
        assert not card.refused or f"refused.{card.refused.because}" in PHRASES["en"]


def test_plan_in_the_shell_takes_what_plan_in_chat_takes() -> None:
    assert set(ModelRequest.model_fields) <= set(OfflinePlan.model_fields)


def test_the_slack_app_asks_for_what_the_bot_uses_and_hears_what_it_listens_to() -> None:
    manifest = yaml.safe_load((ROOT / "manifests" / "slack" / "app-manifest.yaml").read_text())
    scopes = set(manifest["oauth_config"]["scopes"]["bot"])
    source = "".join(path.read_text() for path in (BOT / "platforms" / "slack").glob("*.py"))
    used = {scope for method, scope in SLACK_SCOPES.items() if method in source}
    assert set(SLACK_SCOPES.values()) == used
    assert {scope for scopes in used for scope in scopes.split()} | NO_METHOD == scopes
    events = {name.split(".")[0] for name in manifest["settings"]["event_subscriptions"]["bot_events"]}
    assert events == set(re.findall(r'@app\.event\("(\w+)"\)', source))


def test_log_events_are_stable_ids() -> None:
    events = [
        (path.name, str(call.args[0].value) if isinstance(call.args[0], ast.Constant) else "?")
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and re.fullmatch(r"log\.(debug|info|warning|error|exception)", ast.unparse(call.func))
    ]
    assert len(events) > 30
    assert [event for event in events if not re.fullmatch(r"[a-z]+(\.[a-z_]+)+", event[1])] == []


SUITES = {"attacks", "bench", "contract", "e2e", "fakes", "real"}
"""Folders of tests that mirror no folder of the bot."""
MIRRORS = [
    path
    for path in sorted((ROOT / "tests").rglob("test_*.py"))
    if path.parent != ROOT / "tests" and path.relative_to(ROOT / "tests").parts[0] not in SUITES
]


@pytest.mark.parametrize("path", MIRRORS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_of_a_module_stand_where_it_stands(path: Path) -> None:
    """`tests/<folder>/test_x.py` is about `bot/<folder>/x.py`, or about the folder `x`."""
    module = BOT / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
    assert module.exists() or module.with_suffix("").is_dir()


TESTS = sorted((ROOT / "tests").rglob("*.py"))
OF_NAMED_TUPLES = {"_replace", "_asdict", "_fields"}
BY_NAME = {"setattr", "getattr", "delattr", "hasattr"}


def private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def is_own(node: ast.expr) -> bool:
    return ast.unparse(node) in ("self", "cls", "super()")


def private_accesses(tree: ast.Module) -> list[str]:
    """Reads and writes of what belongs to other objects alone, also by name."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr=name) if private(name) and name not in OF_NAMED_TUPLES:
                found += [] if is_own(owner) else [ast.unparse(node)]
            case ast.Call(func=ast.Name(id=by) | ast.Attribute(attr=by)) if by in BY_NAME:
                texts = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
                found += [ast.unparse(node) for text in texts if private(text.rpartition(".")[2])]
            case ast.ImportFrom(names=imported, module=str(module)) if module.startswith("bot"):
                found += [f"{module}.{alias.name}" for alias in imported if private(alias.name)]
    return found


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_look_at_nothing_private(path: Path) -> None:
    assert private_accesses(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_what_is_private_is_found_however_it_is_reached() -> None:
    reached = ("bot._x", "a.b()._x = 1", "setattr(bot, '_x', 1)", "patch.setattr('bot.a._x', 1)")
    assert all(private_accesses(ast.parse(line)) for line in (*reached, "from bot.a import _x"))
    open_ones = ("self._x", "super()._x()", "part._replace(a=1)", "bot.x", "bot.__class__", "getattr(a, 'x')")
    assert not any(private_accesses(ast.parse(line)) for line in open_ones)
