"""Form → modal, and what was filled in → the line that could have been typed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from bot.core.chat.form import Blank, Form, filled_line
from bot.core.chat.message import Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import Say, t
from bot.platforms.shared.sanitize import as_code
from bot.platforms.slack.render import Block, context, escape, plain

CALLBACK, FIELD, NOTE = "form", "value", "note"
CHOICES, TITLE = 100, 24


@dataclass(frozen=True, slots=True)
class Filled:
    """Where a modal was opened, and how its fields become a line; stored in its `private_metadata`."""

    line: str
    check: str
    required: Sequence[str]
    checked: Sequence[str]
    channel: str
    thread: str

    @property
    def place(self) -> Place:
        """Where the replies go."""
        return Place("slack", self.channel, self.thread)


FILLED = TypeAdapter(Filled)


def view(form: Form, place: Place, say: Say) -> Block:
    """The form as a modal."""
    required = tuple(blank.name for blank in form.blanks if blank.required)
    checked = tuple(blank.name for blank in form.blanks if blank.checked)
    filled = Filled(form.line, form.check, required, checked, place.channel, place.thread)
    return {
        "type": "modal",
        "callback_id": CALLBACK,
        "title": plain(say(form.title), TITLE),
        "submit": plain(say(form.submit), TITLE),
        "close": plain(say(t("button.cancel")), TITLE),
        "private_metadata": json.dumps(asdict(filled)),
        "blocks": [_input(blank, say) for blank in form.blanks],
    }


def _input(blank: Blank, say: Say) -> Block:
    options = [
        {"text": plain(say(choice.label), 75), "value": choice.value} for choice in blank.choices[:CHOICES]
    ]
    element: Block = {"action_id": FIELD}
    if options:
        element |= {"type": "static_select", "options": options}
        chosen = [option for option in options if option["value"] == blank.value]
        element |= {"initial_option": chosen[0]} if chosen else {}
    else:
        element |= {"type": "plain_text_input", "multiline": blank.multiline, "max_length": 3000}
        element |= {"initial_value": blank.value} if blank.value else {}
    return {
        "type": "input",
        "block_id": blank.name,
        "element": element,
        "label": plain(say(blank.label), 2000),
        "optional": not blank.required,
        "dispatch_action": blank.checked,
    }


def read(view: dict[str, Any]) -> tuple[Filled, dict[str, str]]:
    """What the modal was opened for, and the values filled in so far, by the name of the field."""
    filled = FILLED.validate_json(view["private_metadata"])
    values = {}
    for name, elements in view["state"]["values"].items():
        element = elements.get(FIELD, {})
        option = element.get("selected_option") or {}
        values[name] = str(element.get("value") or option.get("value") or "")
    return filled, values


def checking(filled: Filled, values: dict[str, str]) -> str:
    """The line that tells what the command would do."""
    return filled_line(filled.check, filled.required, {name: values.get(name, "") for name in filled.checked})


def with_note(view: dict[str, Any], note: Reply, say: Say) -> Block:
    """The modal with a reply at its end: what the command would do, or what is wrong."""
    kept = ("type", "callback_id", "title", "submit", "close", "private_metadata")
    lines = [f"{note.tone} {escape(say(note.text))}".lstrip()] if note.text else []
    lines += [escape(say(line)) for line in note.lines]
    lines += [as_code(escape(say(button.label))) for button in note.buttons if button.detail]
    old = [block for block in view["blocks"] if block.get("block_id") != NOTE]
    return {
        **{key: view[key] for key in kept},
        "blocks": [*old, context("\n".join(lines)[:2900] or "…") | {"block_id": NOTE}],
    }
