"""What Slack calls the bot with: what Bolt and the listeners rely on is checked before either sees it."""

from collections.abc import Awaitable
from typing import Annotated, Any, NotRequired

import structlog
from pydantic import Field, TypeAdapter, ValidationError
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.request.payload_utils import (
    to_action,
    to_command,
    to_event,
    to_message,
    to_options,
    to_shortcut,
    to_step,
    to_view,
)
from typing_extensions import TypedDict

from bot.platforms.slack import modal

MISREAD = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a call ends in that is none of Slack's."""
BOLT_READS = (to_action, to_command, to_event, to_message, to_options, to_shortcut, to_step, to_view)
"""What Bolt looks for in every call."""
Object = dict[str, Any]
Word = str | None

log = structlog.get_logger()


class Envelope(TypedDict):
    """A message of Socket Mode."""

    type: str
    envelope_id: NotRequired[str]
    payload: NotRequired[Object]
    reason: NotRequired[Word]
    retry_attempt: NotRequired[int | None]
    retry_reason: NotRequired[Word]


class Known(TypedDict):
    """Something that has an id."""

    id: str


class Person(TypedDict):
    """Who clicked or filled in."""

    id: str
    team_id: NotRequired[Word]


class View(TypedDict):
    """A modal or a home tab, whoever made it."""

    callback_id: NotRequired[Word]
    type: NotRequired[Word]


class Call(TypedDict):
    """Any call, also one that no listener takes."""

    type: NotRequired[Word]
    command: NotRequired[str]
    callback_id: NotRequired[str]
    action_id: NotRequired[str]
    challenge: NotRequired[str]
    event: NotRequired[Object]
    view: NotRequired[View | None]


class SlashCall(TypedDict):
    """A slash command."""

    trigger_id: str
    team_id: str
    channel_id: str
    user_id: str
    response_url: str
    text: NotRequired[str]


class AnyEvent(TypedDict):
    """An event of which nothing is read."""

    type: str


class MessageEvent(TypedDict):
    """A message; one that was edited or deleted has neither `user` nor `text`."""

    channel: str
    ts: str
    thread_ts: NotRequired[Word]
    user: NotRequired[Word]
    text: NotRequired[Word]
    subtype: NotRequired[Word]
    channel_type: NotRequired[Word]
    team: NotRequired[Word]
    user_team: NotRequired[Word]


class HomeEvent(TypedDict):
    """Somebody opened a tab of the app."""

    user: str
    tab: NotRequired[Word]


class EventCall(TypedDict):
    """What an event comes in."""

    event_id: str
    team_id: NotRequired[Word]
    event: AnyEvent


class ChosenOption(TypedDict):
    """A choice."""

    value: str


class Element(TypedDict):
    """A field that is filled in."""

    value: NotRequired[Word]
    selected_option: NotRequired[ChosenOption | None]


class State(TypedDict):
    """Fields by block and action."""

    values: dict[str, dict[str, Element]]


class FormView(TypedDict):
    """A modal that the bot made."""

    id: str
    hash: str
    type: str
    callback_id: str
    private_metadata: str
    title: Object
    submit: Object
    close: Object
    blocks: list[Object]
    state: State


class ClickedElement(TypedDict):
    """A button, or a field that changed."""

    action_id: str
    value: NotRequired[Word]


class Shown(TypedDict):
    """The message with a button."""

    thread_ts: NotRequired[Word]


class Container(TypedDict):
    """What holds a button."""

    message_ts: NotRequired[Word]


class Interaction(TypedDict):
    """A click, or a form."""

    user: Person
    team: NotRequired[Known | None]
    trigger_id: str


class ClosedView(TypedDict):
    """A modal that somebody left."""

    view: View


class Submission(Interaction):
    """A modal that was sent."""

    view: View


class Click(Interaction):
    """A click on a button, or a field that changed."""

    actions: Annotated[list[ClickedElement], Field(min_length=1)]
    channel: NotRequired[Known | None]
    message: NotRequired[Shown | None]
    container: NotRequired[Container | None]


ENVELOPE = TypeAdapter(Envelope)
_CALL, _COMMAND, _FORM = TypeAdapter(Call), TypeAdapter(SlashCall), TypeAdapter(FormView)
_BY_TYPE: dict[str, TypeAdapter[Any]] = {
    "event_callback": TypeAdapter(EventCall),
    "block_actions": TypeAdapter(Click),
    "view_submission": TypeAdapter(Submission),
    "view_closed": TypeAdapter(ClosedView),
}
_BY_EVENT: dict[str, TypeAdapter[Any]] = {
    "message": TypeAdapter(MessageEvent),
    "app_mention": TypeAdapter(MessageEvent),
    "app_home_opened": TypeAdapter(HomeEvent),
}


async def understood(coming: Awaitable[AsyncBoltRequest]) -> AsyncBoltRequest | None:
    """The call, if its body is one that Slack sends; else None, and a line in the log."""
    try:
        request = await coming
        _check(request.body)
    except MISREAD as error:
        log.warning("call.malformed", why=type(error).__name__)
        return None
    return request


def is_envelope(message: str) -> bool:
    """Whether it is a message of Socket Mode; else there is a line in the log."""
    try:
        ENVELOPE.validate_json(message)
    except ValidationError as error:
        log.warning("call.malformed", why=type(error).__name__)
        return False
    return True


def _check(body: Any) -> None:
    """One of MISREAD for what Bolt or a listener could not read."""
    _CALL.validate_python(body)
    for read in BOLT_READS:
        read(body)
    kind, view = body.get("type"), body.get("view") or {}
    if "command" in body:
        _COMMAND.validate_python(body)
    if kind in _BY_TYPE:
        _BY_TYPE[kind].validate_python(body)
    if kind == "event_callback" and (event := _BY_EVENT.get(body["event"]["type"])):
        event.validate_python(body["event"])
    if kind in ("block_actions", "view_submission") and view.get("callback_id") == modal.CALLBACK:
        _FORM.validate_python(view)
        modal.FILLED.validate_json(view["private_metadata"])
