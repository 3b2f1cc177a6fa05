"""Annotations as versions up to 0.1.0 wrote them: without a format of their own, named after the code.

What a field meant is told by what it became. `slept` was why a model sleeps until its owner was told, then
how far that had gone; `sleep` was what had been known."""

import json
from collections.abc import Mapping
from typing import Any

FORMAT = "1"
RENAMED = {
    "owner": "owner",
    "owner-name": "owner_name",
    "role": "role",
    "locale": "locale",
    "place": "card_place",
    "card": "card_message_id",
    "announced": "announced_news",
    "started": "start_requested_at",
    "ends": "lease_ends_at",
    "kept": "keep_until",
    "window": "idle_window",
    "hours": "office_hours",
    "warned": "warned_at",
    "warning": "warning_message_id",
    "queued": "queued_since",
    "high": "urgent",
    "used": "last_uses",
    "waiting": "pending_questions",
}
"""What each annotation is called in a Record now."""
_JSON = {"place", "used", "waiting"}
SLEPT, SLEEP = "slept", "sleep"
STARTS = "starts"
"""How long starts took, all stages together: it teaches nothing and is not read."""
NAMES = [f"llm-bot/{name}" for name in (*RENAMED, SLEPT, SLEEP, STARTS)]
"""All annotations that this format has."""


def read(annotations: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a Record; ValueError if one that has to be JSON is none, or means nothing."""
    found = {name: annotations[f"llm-bot/{name}"] for name in RENAMED if f"llm-bot/{name}" in annotations}
    record = {RENAMED[name]: json.loads(text) if name in _JSON else text for name, text in found.items()}
    slept = annotations.get(f"llm-bot/{SLEPT}", "")
    sleep = json.loads(annotations.get(f"llm-bot/{SLEEP}", "{}"))
    if not isinstance(sleep, dict):
        raise ValueError(f"llm-bot/{SLEEP} is no JSON object")
    if slept == "leaving":  # then the warning was that of its removal
        sleep["removal_announced_at"] = record.pop("warned_at", None)
    if slept or sleep:
        record["sleep_state"] = _sleep_state(slept, sleep, office_hours=bool(record.get("office_hours")))
    return record


def _sleep_state(slept: str, sleep: dict[str, Any], *, office_hours: bool) -> dict[str, Any]:
    told, by_person = slept in ("told", "leaving"), sleep.get("reason") == "person"
    unsaid = "unknown" if slept in ("", "person", "told", "leaving") else slept
    reason = sleep.get("reason") or unsaid
    return {
        "reason": "office_hours" if reason == "idle" and office_hours else reason,
        "by": sleep.get("by", ""),
        "last_activity": sleep.get("since"),
        "told": told or slept == "person" or by_person,
        "office_closed": slept == "told" and reason in ("person", "unknown"),
        "removal_announced_at": sleep.get("removal_announced_at"),
    }
