"""What the bot remembers, as annotations of the Deployment: the cluster is the database.

The names are part of the stored format, whatever the fields of a Record are called in the code. Format 1 was
written by versions up to 0.1.0; it is read, and written again as format 2 with the first change.
`start-seconds`, which format 2 had before `start-times`, is not read: those were totals, of which nobody
knows how much was loading."""

import json
from collections.abc import Mapping
from typing import Any, Unpack

from pydantic import TypeAdapter

from bot.cluster import annotations_v1
from bot.cluster.client import Json
from bot.core.access.roles import Role
from bot.core.deployment.record import Record, RecordChanges, checked
from bot.core.deployment.workload import Spec
from bot.core.frozen import Count

PREFIX = "llm-bot/"
SPEC = f"{PREFIX}spec"
"""Annotation of a model's Deployment: what was asked for, as JSON; what has its default is left out."""
FORMAT = f"{PREFIX}format"
"""Annotation of a model's Deployment: the format of its annotations. Without it, that is format 1."""
CURRENT = "2"
"""The format that this version writes."""
CREATING = f"{PREFIX}creating"
"""Annotation of a model's Deployment until all that its pods need is there: how many replicas it gets then;
so long it has 0."""
NAMES = {
    "owner": f"{PREFIX}owner",
    "owner_name": f"{PREFIX}owner-name",
    "role": f"{PREFIX}owner-role",
    "locale": f"{PREFIX}locale",
    "card_place": f"{PREFIX}card-place",
    "card_message_id": f"{PREFIX}card-message-id",
    "announced_news": f"{PREFIX}announced-news",
    "start_requested_at": f"{PREFIX}start-requested-at",
    "start_times": f"{PREFIX}start-times",
    "ready_at": f"{PREFIX}ready-at",
    "last_end": f"{PREFIX}last-end",
    "lease_ends_at": f"{PREFIX}lease-ends-at",
    "keep_until": f"{PREFIX}keep-until",
    "idle_window": f"{PREFIX}idle-window",
    "office_hours": f"{PREFIX}office-hours",
    "warned_at": f"{PREFIX}warned-at",
    "warning_message_id": f"{PREFIX}warning-message-id",
    "sleep_state": f"{PREFIX}sleep-state",
    "queued_since": f"{PREFIX}queued-since",
    "held_back": f"{PREFIX}held-back",
    "no_room_told": f"{PREFIX}no-room-told",
    "urgent": f"{PREFIX}urgent",
    "last_uses": f"{PREFIX}last-uses",
    "last_nodes": f"{PREFIX}last-nodes",
    "pending_questions": f"{PREFIX}pending-questions",
}
"""The annotation of each field of a Record."""
_JSON = {
    "card_place",
    "start_times",
    "last_end",
    "sleep_state",
    "last_uses",
    "last_nodes",
    "pending_questions",
}
"""Fields that are written as JSON; times and durations are text as in ISO 8601."""
_FIELDS: TypeAdapter[RecordChanges] = TypeAdapter(RecordChanges)
_REPLICAS: TypeAdapter[int] = TypeAdapter(Count)


class NewerFormat(ValueError):
    """A later version than this one wrote it: it may mean what we do not know, and is left alone."""


def to_annotations(record: Record) -> dict[str, str]:
    """A record as annotations: text as it is, a role by its name, all else as JSON; nothing empty."""
    fields = {name: getattr(record, name) for name in NAMES}
    written = _written(RecordChanges(**fields))  # type: ignore[typeddict-item]
    return {FORMAT: CURRENT} | {name: value for name, value in written.items() if value is not None}


def whole_patch(spec: Spec, record: Record) -> dict[str, str | None]:
    """The annotations of a spec and a record as a patch, in place of all that the bot has ever written."""
    nothing: dict[str, str | None] = dict.fromkeys((*NAMES.values(), *annotations_v1.NAMES))
    return nothing | to_annotations(record) | spec_annotation(spec)


def record_patch(metadata: Json, version: str = "", **changes: Unpack[RecordChanges]) -> Json:
    """Changed fields as a patch of a Deployment's metadata: an empty one is removed.

    With a `version` it holds for that version of the Deployment only. What is still in an older format
    becomes the current one with the same patch, which then holds for the version that is changed here.
    NewerFormat, or pydantic's ValueError for a field that does not exist."""
    found = metadata.get("annotations") or {}
    if _format(found) == CURRENT:
        held = {"resourceVersion": version} if version else {}
        return held | {"annotations": _written(checked(changes))}
    fresh = to_annotations(read_record(metadata).changed(**changes))
    stale = {name: None for name in annotations_v1.NAMES if name in found}
    return {"resourceVersion": version or metadata["resourceVersion"], "annotations": stale | fresh}


def spec_annotation(spec: Spec) -> dict[str, str]:
    """The spec, whole: arguments of the container cannot tell everything."""
    return {SPEC: spec.model_dump_json(exclude_defaults=True)}


def read_record(metadata: Json) -> Record:
    """The record of a Deployment; NewerFormat, or pydantic's ValueError if somebody broke it."""
    found = metadata.get("annotations") or {}
    if _format(found) != CURRENT:
        return Record.model_validate(annotations_v1.read(found))
    texts = {field: found[name] for field, name in NAMES.items() if found.get(name)}
    return Record.model_validate({field: _read(field, text) for field, text in texts.items()})


def wanted_replicas(deployment: Json) -> int:
    """How many replicas a Deployment is to have: what it says, or will say once it is wholly created.
    ValueError if somebody broke that."""
    creating = (deployment["metadata"].get("annotations") or {}).get(CREATING)
    replicas: int = deployment["spec"].get("replicas", 1)
    return replicas if creating is None else _REPLICAS.validate_python(creating)


def read_spec(metadata: Json) -> Spec:
    """The spec of a Deployment; ValueError if it is broken or missing."""
    return Spec.model_validate_json((metadata.get("annotations") or {}).get(SPEC, ""))


def _format(annotations: Mapping[str, str]) -> str:
    found = annotations.get(FORMAT, annotations_v1.FORMAT)
    if found not in (annotations_v1.FORMAT, CURRENT):
        raise NewerFormat(f"format {found}; this version writes {CURRENT}")
    return found


def _written(changes: RecordChanges) -> dict[str, str | None]:
    """Each annotation's text; None where the field is empty."""
    plain = _FIELDS.dump_python(changes, mode="json", exclude_defaults=True)
    if "role" in changes:
        plain["role"] = changes["role"].name.lower()
    return {NAMES[field]: _write(value) if value else None for field, value in plain.items()}


def _write(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read(field: str, text: str) -> Any:
    if field == "role":
        return Role[text.upper()] if text.upper() in Role.__members__ else text
    return json.loads(text) if field in _JSON else text
