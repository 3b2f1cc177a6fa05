"""What Mattermost calls: slash commands, clicks and dialogs. Nothing is believed that we did not sign."""

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
from bot.core.chat.form import typed
from bot.core.chat.message import Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import Say
from bot.platforms.mattermost.buttons import CLICK, FORM, STOP, with_commands
from bot.platforms.mattermost.inbound import MattermostInbound
from bot.platforms.mattermost.render import code
from bot.platforms.mattermost.rest import ephemeral
from bot.platforms.mattermost.signing import Forged
from bot.platforms.shared.edits import Payload
from bot.platforms.shared.presenter import Origin

COMMAND_SECONDS, CLICK_SECONDS = 0.2, 2.0
"""How long a call may wait for a word that is for the person alone."""
Work = Coroutine[Any, Any, None]
Call = TypeVar("Call", bound=BaseModel)

log = structlog.get_logger()


class Command(BaseModel):
    """What a slash command sends."""

    token: str
    team_id: str
    channel_id: str
    user_id: str
    trigger_id: str
    response_url: str
    text: str
    root_id: str = ""


class Click(BaseModel):
    """What a button sends."""

    user_id: str
    channel_id: str
    post_id: str
    trigger_id: str
    context: dict[str, Any]


class Submission(BaseModel):
    """What a dialog sends; all of it comes from the person's own client."""

    user_id: str
    state: str
    submission: dict[str, Any]


class Callbacks:
    """`tokens` of the slash command, by team."""

    def __init__(
        self, inbound: MattermostInbound, tokens: Mapping[str, str], say_in: Callable[[str], Say]
    ) -> None:
        self._inbound, self._context, self._tokens, self._say_in = inbound, inbound.context, tokens, say_in

    async def command(self, request: web.Request) -> web.Response:
        """`/llm …`: acknowledged to the person alone, the work goes on as posts of the bot."""
        if request.content_type != "application/x-www-form-urlencoded":
            return web.json_response({}, status=415)
        try:
            asked = Command.model_validate(dict(await request.post()))
        except ValidationError:
            return web.json_response({}, status=400)
        token = self._tokens.get(asked.team_id, "").encode()
        shown = request.headers.get("Authorization", "").removeprefix("Token ")
        right = [hmac.compare_digest(token, it.encode()) for it in (shown, asked.token)]
        if not token or not all(right):
            log.warning("forged call", what="command", team=asked.team_id)
            return web.json_response({}, status=401)
        heard = {"message": code(f"/llm {asked.text}")}
        if not self._inbound.first(f"trigger:{asked.trigger_id}"):
            return web.json_response(ephemeral(heard))
        place = Place("mattermost", asked.channel_id, asked.root_id)
        origin = Origin(asked.trigger_id, trigger=asked.trigger_id, answer_to=asked.response_url)
        work = self._inbound.hear(asked.text.strip() or "deploy", asked.user_id, place, origin)
        word = await self._word(asked.trigger_id, COMMAND_SECONDS, work)
        return web.json_response(ephemeral(word or heard))

    async def action(self, request: web.Request) -> web.Response:
        """A click; what is for the person alone is the answer."""
        return await self._checked(request, Click, self._click)

    async def dialog(self, request: web.Request) -> web.Response:
        """A dialog was sent; a refusal keeps it open, and loses nothing."""
        return await self._checked(request, Submission, self._submit)

    async def _checked(
        self, request: web.Request, shape: type[Call], do: Callable[[Call], Awaitable[Payload]]
    ) -> web.Response:
        if request.content_type != "application/json":
            return web.json_response({}, status=415)
        try:
            return web.json_response(await do(shape.model_validate_json(await request.read())))
        except (ValidationError, Forged):
            log.warning("forged call", what=request.path)
            return web.json_response({}, status=403)

    async def _click(self, click: Click) -> Payload:
        user, place, trigger = click.user_id, Place("mattermost", click.channel_id), click.trigger_id
        buttons = self._context.buttons
        try:
            signed = buttons.signer.read(STOP if "key" in click.context else CLICK, click.context)
            if signed["channel"] != click.channel_id:
                raise Forged
            if not self._inbound.first(f"trigger:{trigger}"):
                return {}
            if signed.get("confirm"):
                await self._context.rest.open_dialog(trigger, buttons.confirm(signed, user, click.post_id))
                return {}
        except UserError as error:
            return _aside(with_commands(refusal(error, private=True), self._say_in("")))
        if "key" in signed:
            work = self._inbound.stop_answer(signed["key"], user, place, Origin(trigger, trigger=trigger))
        else:
            about = signed["about"]
            origin = Origin(trigger, trigger=trigger, card=click.post_id if about else "")
            place = replace(place, thread=signed["thread"])
            work = self._inbound.hear(signed["line"], user, place, origin, about=about)
        word = await self._word(trigger, CLICK_SECONDS, work)
        return _aside(word["message"]) if word else {}

    async def _submit(self, sent: Submission) -> Payload:
        try:
            state = self._context.buttons.signer.read(FORM, json.loads(sent.state))
        except (ValueError, TypeError, AttributeError):
            raise Forged from None
        except UserError as error:
            return {"error": self._say_in("")(error.text)}
        if state["user"] != sent.user_id:
            raise Forged
        used = f"form:{state['nonce']}"
        if not self._inbound.first(used):
            return {}
        wrong, say = await self._fill(state, sent)
        if wrong is None:
            return {}
        self._inbound.again(used)
        return {"error": with_commands(wrong, say)}

    async def _fill(self, state: Mapping[str, str], sent: Submission) -> tuple[Reply | None, Say]:
        """Only fields that the dialog has count; they are words of a line, which is parsed like any other."""
        given = {name: sent.submission.get(name) for name in state.get("names", "").split()}
        values = {name: value for name, value in given.items() if isinstance(value, str)}
        line = typed(state["line"], state.get("required", "").split(), values)
        place = Place("mattermost", state["channel"], state["thread"])
        origin = Origin(state["nonce"], trigger=state["nonce"], card=state.get("card", ""))
        return await self._inbound.fill(line, sent.user_id, place, origin, about=state.get("about", ""))

    async def _word(self, key: str, seconds: float, work: Work) -> Payload | None:
        """Begin the work; what it says to the person alone, if it does soon and before all else."""
        waiting: asyncio.Future[Payload | None] = asyncio.get_running_loop().create_future()
        self._context.waiting[key] = waiting
        task = self._inbound.start(work)
        try:
            if task is None:
                return None
            task.add_done_callback(lambda _: self._context.answer(key, None))
            async with asyncio.timeout(seconds):
                return await waiting
        except TimeoutError:
            return None
        finally:
            self._context.waiting.pop(key, None)


def _aside(words: str) -> Payload:
    return {"ephemeral_text": words, "skip_slack_parsing": True}
