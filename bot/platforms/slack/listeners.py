"""Bolt listeners: slash commands, mentions, direct messages, clicks and forms become messages."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from slack_bolt.app.async_app import AsyncApp

from bot.core.chat.message import Place
from bot.platforms.shared.presenter import Origin
from bot.platforms.slack import modal
from bot.platforms.slack.forms import Forms
from bot.platforms.slack.home import HomeTab
from bot.platforms.slack.inbound import SlackInbound, plain_text
from bot.platforms.slack.presenter import STOP

Body = dict[str, Any]
Ack = Callable[..., Awaitable[Any]]
TEXT_SUBTYPES = {"", "file_share", "thread_broadcast", "me_message"}


def listen(app: AsyncApp, inbound: SlackInbound, forms: Forms, home: HomeTab) -> None:
    """Register all listeners; each acknowledges before any work."""
    _listen_to_commands(app, inbound)
    _listen_to_events(app, inbound, home)
    _listen_to_clicks(app, inbound)
    _listen_to_forms(app, inbound, forms)


def _listen_to_commands(app: AsyncApp, inbound: SlackInbound) -> None:
    @app.command(re.compile(r"^/"))
    async def command(ack: Ack, body: Body) -> None:
        await ack()
        if inbound.is_new(f"trigger:{body['trigger_id']}"):
            text = plain_text(body.get("text", "")) or "deploy"  # alone, it opens the form
            origin = Origin(
                body["trigger_id"], body["team_id"], body["trigger_id"], answer_to=body["response_url"]
            )
            place = Place("slack", body["channel_id"])
            user = body["user_id"]
            inbound.start(inbound.handle_message(text, user, place, origin), user)


def _listen_to_events(app: AsyncApp, inbound: SlackInbound, home: HomeTab) -> None:
    @app.event("app_mention")
    @app.event("message")
    async def message(body: Body) -> None:
        event = body["event"]
        keys = (f"event:{body['event_id']}", f"message:{event.get('channel')}:{event.get('ts')}")
        if (event.get("subtype") or "") not in TEXT_SUBTYPES or event.get("bot_id"):
            return
        if inbound.is_new(*keys):
            inbound.start(inbound.handle_channel_message(event, _team(body)), event.get("user") or "")

    @app.event("app_home_opened")
    async def home_opened(body: Body) -> None:
        event = body["event"]
        if event.get("tab") == "home" and inbound.is_new(f"event:{body['event_id']}"):
            inbound.start_for(event["user"], partial(home.opened, event["user"], _team(body)))


def _listen_to_clicks(app: AsyncApp, inbound: SlackInbound) -> None:
    @app.action(re.compile(r"^line\d+$"))
    async def click(ack: Ack, body: Body) -> None:
        await ack()
        action = body["actions"][0]
        if not inbound.is_new(f"click:{body['trigger_id']}"):
            return
        about, _, line = (action.get("value") or "").partition("\n")
        place, card = _where(body), _part(body, "container").get("message_ts") or ""
        origin = Origin(body["trigger_id"], _team(body), body["trigger_id"], card if about else "")
        user = body["user"]["id"]
        inbound.start(inbound.handle_message(line, user, place, origin, about=about), user)

    @app.action(STOP)
    async def stop(ack: Ack, body: Body) -> None:
        await ack()
        place, key, user = _where(body), body["actions"][0].get("value") or "", body["user"]["id"]
        inbound.start(inbound.stop_answer(key, user, place, Origin(team=_team(body))), user)


def _listen_to_forms(app: AsyncApp, inbound: SlackInbound, forms: Forms) -> None:
    @app.action(modal.FIELD)
    async def change(ack: Ack, body: Body) -> None:
        await ack()
        if _part(body, "view").get("callback_id") == modal.CALLBACK:
            user = body["user"]["id"]
            inbound.start_for(user, partial(forms.recheck, body["view"], user, _team(body)))

    @app.view(modal.CALLBACK)
    async def submit(ack: Ack, body: Body) -> None:
        view = body["view"]
        origin = Origin(view["id"], _team(body))
        if inbound.is_new(f"view:{view['id']}:{view['hash']}"):
            await forms.submit(view, body["user"]["id"], origin, ack)
        else:
            await ack()


def _team(body: Body) -> str:
    """The id of the person's workspace."""
    event = _part(body, "event")
    user, team = body.get("user"), body.get("team")
    of_user = user.get("team_id") if isinstance(user, dict) else ""
    of_body = team.get("id") if isinstance(team, dict) else ""
    return str(event.get("user_team") or event.get("team") or of_user or of_body or body.get("team_id") or "")


def _where(body: Body) -> Place:
    """The place of a message with a button; an empty channel for the home tab."""
    channel = _part(body, "channel").get("id", "")
    return Place("slack", channel, _part(body, "message").get("thread_ts") or "")


def _part(body: Body, name: str) -> Body:
    """An object in the body; empty where there is none, which Slack also says as null."""
    return body.get(name) or {}
