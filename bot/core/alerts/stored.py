"""The text in which the state of alerts is stored: JSON with the version of its format.

Format 1, of versions up to 0.1.0, has the same fields, but no version; format 2 lacks alerts of the kind
`unreadable`. A new field with a default needs no
new format. A field with another meaning, a field less or a new kind of alert does: older versions would
misread it."""

import json

from bot.core.alerts.state import AlertState

FIRST, CURRENT = 1, 3


class NewerState(Exception):
    """A newer version of the bot wrote the text; this one must leave it alone."""


def read_state(text: str) -> AlertState:
    """The state that a text holds; an empty text is an empty state.

    NewerState if a newer version wrote it, ValueError if it cannot be read at all."""
    content = json.loads(text or "{}")
    if not isinstance(content, dict):
        raise ValueError("not an object")
    version = content.pop("format", FIRST)
    if isinstance(version, int) and version > CURRENT:
        raise NewerState(f"format {version}; this version writes {CURRENT}")
    if not isinstance(version, int) or not FIRST <= version <= CURRENT:
        raise ValueError(f"format {version!r}")
    return AlertState.model_validate(content)


def write_state(state: AlertState) -> str:
    """The text to store; fields that have their default value are left out."""
    return json.dumps({"format": CURRENT} | state.model_dump(mode="json", exclude_defaults=True))
