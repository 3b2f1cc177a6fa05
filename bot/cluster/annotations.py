"""What the bot remembers, as annotations of the Deployment: the cluster is the database."""

import json
from typing import Any

from bot.cluster.client import Json
from bot.core.deployment.workload import Record, Spec

PREFIX = "llm-bot/"
SPEC = f"{PREFIX}spec"
"""Annotation of a model's Deployment: what was asked for, as JSON; what has its default is left out."""


def to_annotations(record: Record) -> dict[str, str]:
    """A record as annotations: strings as they are, all else as JSON; nothing is left out empty."""
    fields = record.model_dump(mode="json")
    return {_name(field): _write(value) for field, value in fields.items() if value}


def changes_to_annotations(changes: dict[str, Any]) -> dict[str, str | None]:
    """Changed fields of a record as a merge patch: None removes."""
    checked = Record.model_construct(**changes).model_dump(mode="json", include=set(changes))
    return {_name(name): _write(value) if value else None for name, value in checked.items()}


def spec_annotation(spec: Spec) -> dict[str, str]:
    """The spec, whole: arguments of the container cannot tell everything."""
    return {SPEC: spec.model_dump_json(exclude_defaults=True)}


def read_record(metadata: Json) -> Record:
    """The record of a Deployment; ValueError (pydantic's) if somebody broke it."""
    found = metadata.get("annotations") or {}
    values = {field: _read(found[_name(field)]) for field in Record.model_fields if _name(field) in found}
    return Record.model_validate(values)


def read_spec(metadata: Json) -> Spec:
    """The spec of a Deployment; ValueError if it is broken or missing."""
    return Spec.model_validate_json((metadata.get("annotations") or {}).get(SPEC, ""))


def _name(field: str) -> str:
    return PREFIX + field.replace("_", "-")


def _write(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read(value: str) -> Any:
    return json.loads(value) if value.startswith(("{", "[")) else value
