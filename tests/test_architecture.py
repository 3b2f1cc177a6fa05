"""The promises of README, kept by a machine."""

import ast
import re
import string
import subprocess
import sys
from ast import Call
from collections import Counter
from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings

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
PHRASES = Phrasebook(LOCALES).sentences
SIMULATOR_LINES = 700
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


def calls() -> list[ast.Call]:
    nodes = (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())))
    return [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "t"]


def keys(argument: ast.expr) -> list[str]:
    """The keys that an argument of t() can be: a literal, one of two, or a family by its pattern."""
    match argument:
        case ast.Constant(value=str(key)):
            return [key]
        case ast.IfExp(body=one, orelse=other):
            return keys(one) + keys(other)
        case ast.JoinedStr(values=parts):
            pattern = "".join(
                re.escape(str(p.value)) if isinstance(p, ast.Constant) else r"[\w-]+" for p in parts
            )
            return [key for key in PHRASES["en"] if re.fullmatch(pattern, key)]
    return []


def placeholders(sentence: str | dict[str, str]) -> set[str]:
    lines = sentence.values() if isinstance(sentence, dict) else [sentence]
    return {name for line in lines for _, name, _, _ in string.Formatter().parse(line) if name}


def test_every_sentence_is_said_and_every_said_key_has_a_sentence() -> None:
    said = {key for call in calls() for key in keys(call.args[0])}
    by_variable = {
        value
        for path in SOURCES
        for value in re.findall(r'"([a-z_]+\.[a-z_]+)"', path.read_text())
        if value in PHRASES["en"]
    }
    assert said - set(PHRASES["en"]) == set()
    assert set(PHRASES["en"]) - said - by_variable == set()


@pytest.mark.parametrize("call", calls(), ids=lambda call: ast.unparse(call)[:60])
def test_every_sentence_gets_what_it_needs(call: Call) -> None:
    given = {keyword.arg for keyword in call.keywords}
    if None in given:
        return  # **params: checked where they are named
    fitting = [key for key in keys(call.args[0]) if needs(key) <= given]
    family = isinstance(call.args[0], ast.JoinedStr)
    assert fitting if family else fitting == keys(call.args[0])


def needs(key: str) -> set[str]:
    sentence = PHRASES["en"][key]
    return placeholders(sentence) | ({"count"} if isinstance(sentence, dict) else set())


@pytest.mark.parametrize("language", PHRASES)
def test_every_language_says_everything_with_the_same_parameters(language: str) -> None:
    english = {key: placeholders(sentence) for key, sentence in PHRASES["en"].items()}
    assert {key: placeholders(sentence) for key, sentence in PHRASES[language].items()} == english


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
    def granted(file: str, kind: str) -> set[tuple[str, str, str]]:
        documents = yaml.safe_load_all((ROOT / "manifests" / "bot" / file).read_text())
        rules = next(d["rules"] for d in documents if d["kind"] == kind)
        return {
            (group, resource, verb)
            for rule in rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    def checked(everywhere: bool) -> set[tuple[str, str, str]]:
        rights = (right for right in RIGHTS if right.everywhere == everywhere)
        return {(right.group, right.resource, verb) for right in rights for verb in right.verbs}

    assert granted("role.yaml", "Role") == checked(everywhere=False)
    assert granted("cluster-role.yaml", "ClusterRole") == checked(everywhere=True)


def test_the_catalog_is_as_large_as_promised_and_every_caution_has_a_sentence():
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
