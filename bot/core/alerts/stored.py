"""What admins were told, as the text that is kept of it: JSON with the version of its format.

Format 1, of versions up to 0.1.0, did not say so; its fields were the same. A new field with a default needs
no new format. Another meaning, a field less or a new kind of alert does: older versions would misread it."""

import json

from bot.core.alerts.state import AlertState

FIRST, CURRENT = 1, 2


class NewerState(Exception):
    """A later version than this one wrote the text: it is left alone."""


def read_state(text: str) -> AlertState:
    """The state of a text, of the empty one nothing; NewerState, or ValueError when nobody can read it."""
    found = json.loads(text or "{}")
    if not isinstance(found, dict):
        raise ValueError("not an object")
    version = found.pop("format", FIRST)
    if isinstance(version, int) and version > CURRENT:
        raise NewerState(f"format {version}; this version writes {CURRENT}")
    if version not in (FIRST, CURRENT):
        raise ValueError(f"format {version!r}")
    return AlertState.model_validate(found)


def write_state(state: AlertState) -> str:
    """The text to keep; what has its default is left out."""
    return json.dumps({"format": CURRENT} | state.model_dump(mode="json", exclude_defaults=True))
