"""Endpoints that Mattermost calls: slash commands, clicks and dialogs. Only what we signed is trusted."""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from bot.core.chat.errors import UserError, refusal
from bot.core.chat.form import filled_line
from bot.core.chat.message import Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import Say
from bot.platforms.mattermost.buttons import CLICK, CLICK_SECONDS, FORM, FORM_SECONDS, STOP, with_commands
from bot.platforms.mattermost.inbound import MattermostInbound
from bot.platforms.mattermost.rest import ephemeral
from bot.platforms.mattermost.signing import Forged, check_format
from bot.platforms.shared.edits import Payload
from bot.platforms.shared.presenter import Origin
from bot.platforms.shared.sanitize import as_code

COMMAND_REPLY_SECONDS, CLICK_REPLY_SECONDS = 0.2, 2.0
"""How long a call may wait for a reply that is for the person alone."""
Work = Coroutine[Any, Any, None]
Call = TypeVar("Call", bound=BaseModel)

log = structlog.get_logger()


class SlashCommand(BaseModel):
    """The fields of a slash command call."""

    token: str
    team_id: str
    channel_id: str
    user_id: str
    trigger_id: str
    response_url: str
    text: str
    root_id: str = ""


class ButtonClick(BaseModel):
    """The fields of a click."""

    user_id: str
    channel_id: str
    post_id: str
    trigger_id: str
    context: dict[str, Any]


class DialogSubmission(BaseModel):
    """What a dialog sends; all of it comes from the person's own client, which may have changed it."""

    user_id: str
    state: str
    submission: dict[str, Any]


class Callbacks:
    """`tokens` are those of the slash command, by team."""

    def __init__(
        self, inbound: MattermostInbound, tokens: Mapping[str, str], say_in: Callable[[str], Say]
    ) -> None:
        self._inbound, self._context, self._tokens, self._say_in = inbound, inbound.context, tokens, say_in

    async def command(self, request: web.Request) -> web.Response:
        """`/llm …`: acknowledged to the person alone; the replies come as posts."""
        if request.content_type != "application/x-www-form-urlencoded":
            return web.json_response({}, status=415)
        try:
            call = SlashCommand.model_validate(dict(await request.post()))
        except ValueError:  # no such call, or not even text
            return web.json_response({}, status=400)
        token = self._tokens.get(call.team_id, "").encode()
        shown = request.headers.get("Authorization", "").removeprefix("Token ")
        matches = [hmac.compare_digest(token, it.encode(errors="replace")) for it in (shown, call.token)]
        if not token or not all(matches):
            log.warning("call.forged", path="/mattermost/command", team=call.team_id)
            return web.json_response({}, status=401)
        receipt = {"message": as_code(f"/llm {call.text}")}
        if not self._inbound.is_new(f"trigger:{call.trigger_id}"):
            return web.json_response(ephemeral(receipt))
        place = Place("mattermost", call.channel_id, call.root_id)
        origin = Origin(call.trigger_id, trigger=call.trigger_id, answer_to=call.response_url)
        work = self._inbound.handle_message(call.text.strip() or "deploy", call.user_id, place, origin)
        reply = await self._private_reply(call.trigger_id, COMMAND_REPLY_SECONDS, work, call.user_id)
        return web.json_response(ephemeral(reply or receipt))

    async def action(self, request: web.Request) -> web.Response:
        """A click on a button; a private reply is the answer to the call."""
        return await self._checked(request, ButtonClick, self._click)

    async def dialog(self, request: web.Request) -> web.Response:
        """A dialog was submitted; a refusal keeps it open with all that was filled in."""
        return await self._checked(request, DialogSubmission, self._submit)

    async def _checked(
        self, request: web.Request, shape: type[Call], do: Callable[[Call], Awaitable[Payload]]
    ) -> web.Response:
        if request.content_type != "application/json":
            return web.json_response({}, status=415)
        try:
            return web.json_response(await do(shape.model_validate_json(await request.read())))
        except (ValidationError, Forged):
            log.warning("call.forged", path=request.path)
            return web.json_response({}, status=403)

    async def _click(self, click: ButtonClick) -> Payload:
        user, place, trigger = click.user_id, Place("mattermost", click.channel_id), click.trigger_id
        buttons = self._context.buttons
        try:
            check_format(click.context)
            purpose = STOP if click.context.get("purpose") == STOP else CLICK
            signed = buttons.signer.read(purpose, click.context.get("signed"), CLICK_SECONDS)
            if signed["channel"] != click.channel_id:
                raise Forged
            if not self._inbound.is_new(f"trigger:{trigger}"):
                return {}
            if signed.get("confirm"):
                await self._context.rest.open_dialog(trigger, buttons.confirm(signed, user, click.post_id))
                return {}
        except UserError as error:
            return _ephemeral(with_commands(refusal(error, private=True), self._say_in("")))
        if purpose == STOP:
            work = self._inbound.stop_answer(signed["key"], user, place, Origin(trigger, trigger=trigger))
        else:
            about = signed["about"]
            origin = Origin(trigger, trigger=trigger, card=click.post_id if about else "")
            place = replace(place, thread=signed["thread"])
            work = self._inbound.handle_message(signed["line"], user, place, origin, about=about)
        reply = await self._private_reply(trigger, CLICK_REPLY_SECONDS, work, user)
        return _ephemeral(reply["message"]) if reply else {}

    async def _submit(self, sent: DialogSubmission) -> Payload:
        try:
            if sent.state.startswith("{"):
                check_format(json.loads(sent.state))
            state = self._context.buttons.signer.read(FORM, sent.state, FORM_SECONDS)
        except ValueError:
            raise Forged from None
        except UserError as error:
            return {"error": self._say_in("")(error.text)}
        if state["user"] != sent.user_id:
            raise Forged
        used = f"form:{state['nonce']}"
        if not self._inbound.is_new(used):
            return {}
        wrong, say = await self._fill(state, sent)
        if wrong is None:
            return {}
        self._inbound.forget(used)
        return {"error": with_commands(wrong, say)}

    async def _fill(self, state: Mapping[str, str], sent: DialogSubmission) -> tuple[Reply | None, Say]:
        """Run the line of a dialog; fields that the dialog does not have are ignored."""
        fields = {name: sent.submission.get(name) for name in state.get("names", "").split()}
        values = {name: value for name, value in fields.items() if isinstance(value, str)}
        line = filled_line(state["line"], state.get("required", "").split(), values)
        place = Place("mattermost", state["channel"], state["thread"])
        origin = Origin(state["nonce"], trigger=state["nonce"], card=state.get("card", ""))
        about = state.get("about", "")
        return await self._inbound.submit_form(line, sent.user_id, place, origin, about)

    async def _private_reply(self, key: str, seconds: float, work: Work, user: str) -> Payload | None:
        """Start the work; its first reply if that is private and comes in so many seconds, else nothing."""
        waiting: asyncio.Future[Payload | None] = asyncio.get_running_loop().create_future()
        self._context.unanswered_calls[key] = waiting
        task = self._inbound.start(work, user)
        try:
            if task is None:
                return None
            task.add_done_callback(lambda _: self._context.answer_call(key, None))
            async with asyncio.timeout(seconds):
                return await waiting
        except TimeoutError:
            return None
        finally:
            self._context.unanswered_calls.pop(key, None)


def _ephemeral(words: str) -> Payload:
    return {"ephemeral_text": words, "skip_slack_parsing": True}
