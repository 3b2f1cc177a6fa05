"""Writes docs/reference/ from the code: settings, commands, metrics, annotations, causes of failures.

`make docs` runs it. tests/test_docs.py fails while a file differs from what it would write."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from bot.app.clock import SystemClock
from bot.app.settings import Settings, platform_settings_classes
from bot.cluster.annotations import NAMES, PREFIX, SPEC
from bot.commands import COMMANDS
from bot.core.access.roles import Role
from bot.core.chat.text import Phrasebook, t
from bot.core.deployment.record import LastUse, Record, SleepReason, SleepState
from bot.core.deployment.start_times import StartTimes
from bot.core.deployment.workload import Spec
from bot.core.failures.log_signs import LAST_RESORT, SIGNS
from bot.core.failures.remedies import remedy
from bot.core.frozen import Frozen
from bot.grammar.command import Command, Group, Rest, spell
from tools import source
from tools.markdown import code, page, table
from tools.values import stored_as, takes

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
LOCALES = ROOT / "bot" / "locales"
EXAMPLE = ROOT / ".env.example"
RULES = ROOT / "manifests" / "monitoring" / "rules.yaml"
ONLY_IN_DEMO = {"simulate"}

_phrases = Phrasebook(LOCALES, SystemClock().now)


def pages() -> dict[str, str]:
    """The text of every generated file, by its name in docs/reference/."""
    return {
        "settings.md": page("Settings", _settings()),
        "commands.md": page("Commands", _commands()),
        "metrics.md": page("Metrics", _metrics()),
        "annotations.md": page("Annotations and labels", _annotations()),
        "failure-causes.md": page("Causes of failures", _causes()),
    }


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def _say(key: str) -> str:
    return _phrases.say(t(key), "en")


# --- settings ---


def _settings() -> Iterator[str]:
    yield "Environment variables, or lines of a file `.env` in the working directory; the environment"
    yield "wins. An empty value means the default. Every wrong value is reported at start, a line each"
    yield "(exit code 2). [.env.example](../../.env.example) has them all, ready to copy."
    yield ""
    kinds: tuple[type[BaseSettings], ...] = (Settings, *platform_settings_classes().values())
    fields = {name: field for kind in kinds for name, field in kind.model_fields.items()}
    explained = {name: text for kind in kinds for name, text in source.field_docstrings(kind).items()}
    for title, settings in _sections():
        yield f"## {title}"
        yield ""
        rows = [
            (
                code(name),
                takes(fields[name.lower()]),
                code(default),
                explained.get(name.lower(), comment),
            )
            for name, default, comment in settings
        ]
        yield from table(("setting", "takes", "default", "what it does"), rows)


def _sections() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Title and (name, default, comment) of each setting, in the order of .env.example."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for part in re.split(r"^# --- ", text, flags=re.MULTILINE)[1:]:
        title = re.match(r"[^:\n]+?(?=:| ---)", part)
        found = re.findall(r"^([A-Z_]+)=(.*?)(?:[ ]+#[ ](.*))?$", part, re.MULTILINE)
        settings = [(name, value.strip().strip('"'), comment) for name, value, comment in found]
        yield (title[0] if title else "Others"), settings


# --- commands ---


def _commands() -> Iterator[str]:
    yield "Typed after `/llm` in Slack and Mattermost, after `@llm` or in a direct message, and as they"
    yield "are in the terminal. `NAME` is a deployment, `MODEL` a model of the catalog or a Hugging Face"
    yield "repository. `key=value`, `--key value` and `--key=value` mean the same. `/llm help VERB` says"
    yield "in chat what is here."
    yield ""
    for group in Group:
        yield f"## {_say(f'help.{group.value}')}"
        yield ""
        for command in dict.fromkeys(COMMANDS.values()):
            if command.group is group:
                yield from _command(command)


def _command(command: type[Command]) -> Iterator[str]:
    yield f"### {command.verb}"
    yield ""
    yield f"{_sentence(_say(f'verb.{command.verb}'))} {_conditions(command)}".rstrip()
    yield ""
    yield from ("```", f"/llm {command.usage()}", "```", "")
    fields = zip(command.model_fields, command.arguments().items(), strict=True)
    rows = [
        (code(typed), _say(f"field.{name}"), _default(field), _chat_takes(field))
        for name, (typed, field) in fields
    ]
    if rows:
        yield from table(("option", "meaning", "default", "takes"), rows)
    yield f"For example: {', '.join(code(f'/llm {example}') for example in command.examples)}."
    yield ""


def _conditions(command: type[Command]) -> str:
    said = []
    if command.aliases:
        said.append(f"Also typed as {', '.join(map(code, command.aliases))}.")
    if command.needs > Role.STUDENT:
        said.append(f"For {_phrases.say(command.needs.label, 'en')}s.")
    if command.verb in ONLY_IN_DEMO:
        said.append("Only in the demo.")
    if command.form:
        said.append("Without arguments a form opens where the chat has forms.")
    return " ".join(said)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].rstrip(".?") + "."


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default in (None, "", False):
        return ""
    return code(spell(field.default))


def _chat_takes(field: FieldInfo) -> str:
    if field.annotation is Rest:
        return "the rest of the line"
    return takes(field)


# --- metrics ---


def _metrics() -> Iterator[str]:
    yield "At `/metrics` on `HTTP_PORT`. Gauges show how things are at the moment of the scrape; a scrape"
    yield "asks the Kubernetes API nothing. A histogram also has `_bucket`, `_sum` and `_count`."
    yield ""
    found = source.metrics("llm_bot_")
    rows = [(code(m.name), m.kind, ", ".join(map(code, m.labels)), m.meaning) for m in found]
    yield from table(("metric", "kind", "labels", "meaning"), rows)
    yield "## Rules for Prometheus"
    yield ""
    yield "[manifests/monitoring/rules.yaml](../../manifests/monitoring/rules.yaml) raises these alarms,"
    yield "which the bot cannot raise itself while it is down:"
    yield ""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["spec"]["groups"]
    rules = [
        (
            code(rule["alert"]),
            code(rule["expr"]),
            rule.get("for", "at once"),
            rule["annotations"]["summary"],
        )
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    ]
    yield from table(("alert", "when", "for", "meaning"), rules)


# --- annotations ---


def _annotations() -> Iterator[str]:
    yield "What the bot writes on the Kubernetes objects of a model. Texts stand as they are, times and"
    yield "durations as in ISO 8601 (times in UTC), everything else is JSON. What is empty is left out."
    yield ""
    yield "## What is remembered of a deployment"
    yield ""
    yield from table(("annotation", "type", "meaning"), _fields(Record, NAMES))
    stored: tuple[tuple[str, type[Frozen]], ...] = (
        (SPEC, Spec),
        (NAMES["start_times"], StartTimes),
        (NAMES["last_uses"], LastUse),
        (NAMES["sleep_state"], SleepState),
    )
    for name, value in stored:
        yield from (f"### In `{name}`", "", (value.__doc__ or "").strip(), "")
        yield from table(("field", "type", "meaning"), _fields(value, {}))
    reasons = source.field_docstrings(SleepReason)
    yield "`reason` is one of"
    yield ""
    yield from table(("reason", "meaning"), [(code(r.value), reasons[r.name]) for r in SleepReason])
    yield "## Other annotations and labels"
    yield ""
    others = [(code(constant.value), constant.meaning) for constant in source.constants(PREFIX)]
    yield from table(("name", "meaning"), [*others, ("`app.kubernetes.io/managed-by`", MANAGED_BY)])


def _fields(value: type[Frozen], names: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """What is stored of a value: under which name, as what, and what it means."""
    explained = source.field_docstrings(value)
    return [
        (code(names.get(name, name)), stored_as(field), explained[name])
        for name, field in value.model_fields.items()
    ]


MANAGED_BY = "Label, `llm-bot` on every object that the bot makes."


# --- causes of failures ---


def _causes() -> Iterator[str]:
    yield "The names that `python -m bot diagnose`, `status`, alerts and reports use. A log is searched"
    yield "for the texts below; the earliest one that says something specific wins."
    yield ""
    signs: dict[str, list[str]] = {}
    for sign in (*SIGNS, *LAST_RESORT):
        signs.setdefault(sign.cause, []).append(sign.text)
    names = sorted(key.removeprefix("cause.") for key in _phrases.sentences["en"] if key.startswith("cause."))
    rows = [
        (f"[`{name}`](#{name})" if name in signs else code(name), _say(f"cause.{name}"), _remedy(name))
        for name in names
    ]
    yield from table(("cause", "what happened", "what to do"), rows)
    yield "Causes without a link are seen in the cluster (the pod, its events, its node), not in a log."
    yield ""
    yield "## Texts in the log"
    yield ""
    for name in sorted(signs):
        yield from (f"### {name}", "", *(f"- `{text.strip('`')}`" for text in signs[name]), "")


def _remedy(name: str) -> str:
    known = f"remedy.{name}" in _phrases.sentences["en"]
    return (
        _phrases.say(remedy(name), "en")
        if known
        else "what Kubernetes says about it stands in `/llm status NAME`"
    )


if __name__ == "__main__":
    main()
