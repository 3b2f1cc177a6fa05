"""Nonsense instead of Slack's calls, signed over HTTP and by Socket Mode: answered, refused or ignored."""

import asyncio
import hashlib
import hmac
import itertools
import json
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from bot.app.application import App
from bot.app.http_server import HttpServer
from bot.core.changes import Changes
from bot.core.chat.form import Blank, Form
from bot.core.chat.languages import LOCALES
from bot.core.chat.message import Message, Place
from bot.core.chat.reply import Reply
from bot.core.chat.text import Phrasebook, Text
from bot.platforms.shared.platform import Handle
from bot.platforms.slack import modal
from bot.platforms.slack.adapter import Slack
from tests.attacks.fuzz import CALLS, SEED, TOGETHER, Calls, garbled, mutated
from tests.conftest import eventually
from tests.fakes.slack import APP_TOKEN, BOT, BOT_TOKEN, TEAM, FakeSlack

SECRET = "a-signing-secret"
Json = dict[str, Any]


async def silence(message: Message) -> AsyncGenerator[Reply, str | None]:
    """What `handle` does with a line that has no reply."""
    assert isinstance(message.text, str) and isinstance(message.about, str)
    return
    yield Reply()


@pytest_asyncio.fixture
async def workspace(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeSlack]:
    """Three people and a channel."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    fake = FakeSlack()
    fake.tiers = False
    await fake.start()
    fake.channel("C1", members=["UADA"])
    for user in ("UADA", "UBOB", "UEVE"):
        fake.person(user)
    yield fake
    await fake.stop()


@asynccontextmanager
async def listening(fake: FakeSlack, handle: Handle = silence, app_token: str = "") -> AsyncIterator[Slack]:
    """A platform that Slack can reach; nothing in it may go wrong."""
    slack = Slack(
        Phrasebook(LOCALES, lambda: datetime.now(UTC)),
        "en",
        BOT_TOKEN,
        app_token=app_token,
        signing_secret="" if app_token else SECRET,
        url=fake.url,
        changes=Changes().listening,
    )
    with capture_logs() as logged:
        running = asyncio.create_task(slack.listen(handle))
        await eventually(lambda: slack.ready)
        yield slack
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [line for line in logged if line["log_level"] == "error"] == []


@pytest.fixture
def failures(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """What Bolt and the SDK log as errors; what they warn of, bodies and all, would fill the memory."""
    logging.disable(logging.WARNING)
    yield caplog.records
    logging.disable(logging.NOTSET)


PERSON = {"id": "UADA", "team_id": TEAM, "username": "ada", "name": "ada"}
MESSAGE = {"type": "message", "user": "UADA", "team": TEAM, "text": f"<@{BOT}> status", "channel": "C1"}
CHANGED = {"type": "message", "subtype": "message_changed", "hidden": True, "channel": "C1", "ts": "1.2"}
WORD = Text("chat.thinking")
FORM = Form(
    WORD,
    "deploy",
    (Blank("model", WORD, required=True, checked=True), Blank("ttl", WORD)),
    WORD,
    check="plan",
)


def _events(number: int) -> Iterator[Json]:
    """Events as Slack tells them, also those that the bot does not take."""
    here = {"channel": "C1", "ts": f"17.{number}", "event_ts": f"17.{number}"}
    yield {**MESSAGE, **here, "channel_type": "channel"}
    yield {**MESSAGE, **here, "type": "app_mention", "blocks": [{"type": "rich_text", "elements": []}]}
    yield {**MESSAGE, **here, "text": "status", "channel": "DADA", "channel_type": "im"}
    yield {**MESSAGE, **here, "thread_ts": "16.1", "parent_user_id": "UBOB", "channel_type": "group"}
    yield {**MESSAGE, **here, "subtype": "file_share", "files": [{"id": "F1"}], "channel_type": "channel"}
    yield {**CHANGED, "message": {**MESSAGE, "edited": PERSON}, "previous_message": MESSAGE}
    yield {**CHANGED, "subtype": "message_deleted", "deleted_ts": "1.1", "previous_message": MESSAGE}
    yield {"type": "app_home_opened", "user": "UADA", "channel": "DADA", "tab": "home", "view": {"id": "V1"}}
    yield {"type": "member_joined_channel", "user": "UBOB", **here, "team": TEAM, "inviter": "UADA"}
    yield {"type": "member_left_channel", "user": "UBOB", **here, "team": TEAM}
    yield {"type": "team_join", "user": PERSON}
    yield {"type": "channel_rename", "channel": {"id": "C1", "name": "gpu", "created": 1}}
    yield {"type": "reaction_added", "user": "UADA", "item": {"type": "message", **here}, "reaction": "eyes"}
    assistant = {"user_id": "UADA", "context": {"channel_id": "C1", "team_id": TEAM}, **here}
    for kind in ("started", "context_changed"):
        yield {"type": f"assistant_thread_{kind}", "assistant_thread": {**assistant, "thread_ts": "1.1"}}


def _interactions(number: int) -> Iterator[Json]:
    """Clicks, forms, shortcuts and options."""
    common: Json = {"user": PERSON, "team": {"id": TEAM, "domain": "lab"}, "trigger_id": f"tr{number}"}
    common |= {"token": "t", "api_app_id": "A1", "enterprise": None, "is_enterprise_install": False}
    here: Json = {
        "channel": {"id": "C1", "name": "gpu"},
        "message": {**MESSAGE, "ts": "1.1", "thread_ts": "1.0"},
    }
    here |= {"container": {"type": "message", "message_ts": "1.1", "channel_id": "C1"}}
    button = {"type": "button", "block_id": "b", "action_id": "line0", "value": "card\nstop tiny"}
    yield {**common, **here, "type": "block_actions", "actions": [button], "response_url": "http://127.0.0.1"}
    yield {**common, **here, "type": "block_actions", "actions": [{**button, "action_id": "stop_answer"}]}
    home = {"type": "home", "id": "V1", "hash": "1", "callback_id": "", "private_metadata": "", "blocks": []}
    yield {
        **common,
        "type": "block_actions",
        "view": home,
        "container": {"type": "view"},
        "actions": [button],
    }
    view = {**modal.view(FORM, Place("slack", "C1"), lambda text: text.key), "id": f"V{number}", "hash": "h"}
    view["state"] = {
        "values": {"model": {"value": {"type": "static_select", "selected_option": {"value": "a"}}}}
    }
    view["state"]["values"]["ttl"] = {"value": {"type": "plain_text_input", "value": None}}
    change = {"type": "static_select", "action_id": "value", "block_id": "model"}
    yield {**common, "type": "block_actions", "view": view, "actions": [change]}
    yield {**common, "type": "view_submission", "view": view, "response_urls": []}
    yield {**common, "type": "view_closed", "view": view, "is_cleared": False}
    yield {**common, **here, "type": "message_action", "callback_id": "ask", "message_ts": "1.1"}
    yield {**common, "type": "shortcut", "callback_id": "deploy", "action_ts": "1.1"}
    yield {**common, "type": "block_suggestion", "action_id": "value", "block_id": "model", "value": "ll"}
    yield {**common, **here, "type": "interactive_message", "callback_id": "old", "actions": [button]}


def bodies(chance: random.Random) -> Iterator[tuple[str, Json]]:
    """The kind of envelope, and a body: those of real calls, mutated."""
    for number in itertools.count():
        command = {
            "command": "/llm",
            "text": "status",
            "user_id": "UADA",
            "team_id": TEAM,
            "channel_id": "C1",
        }
        command |= {"trigger_id": f"tr{number}", "response_url": "http://127.0.0.1:9/"}
        told: Json = {
            "type": "event_callback",
            "team_id": TEAM,
            "event_id": f"Ev{number}",
            "api_app_id": "A1",
        }
        told |= {"authorizations": [{"team_id": TEAM, "user_id": BOT, "is_bot": True, "enterprise_id": None}]}
        told |= {"is_ext_shared_channel": chance.random() < 0.2, "event_time": 17}
        kind = chance.choice(("slash_commands", "interactive", "interactive", "events_api", "events_api"))
        body: Json = {**command}
        if kind == "events_api":
            body = {**told, "event": chance.choice([*_events(number)])}
            body = body if chance.random() < 0.98 else {"type": "url_verification", "challenge": "c"}
        elif kind == "interactive":
            body = chance.choice([*_interactions(number)])
        for _ in range(chance.choice((0, 1, 1, 2, 4))):
            body = mutated(chance, body)
        yield kind, body


def _encoded(chance: random.Random, kind: str, body: Any) -> tuple[bytes, str]:
    """As Slack encodes it over HTTP, and its type of content; now and then another."""
    plain = isinstance(body, dict) and all(isinstance(value, str) for value in body.values())
    if kind == "slash_commands" and plain:
        text, content = urlencode(body, errors="surrogatepass"), FORMS
    elif kind == "interactive":
        text, content = urlencode({"payload": json.dumps(body)}), FORMS
    else:
        text, content = json.dumps(body), "application/json"
    charset = chance.choice(("; charset=utf-16", "; charset=nonsense", "; charset=rot13", "; charset=utf-8"))
    return garbled(chance, text), content + (charset if chance.random() < 0.05 else "")


FORMS = "application/x-www-form-urlencoded"


def signed(body: bytes) -> dict[str, str]:
    """The headers that prove that Slack calls."""
    stamp = str(int(time.time()))
    signature = hmac.new(SECRET.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={signature}"}


async def test_signed_calls_of_slack_are_answered_refused_or_ignored(
    workspace: FakeSlack, failures: list[logging.LogRecord]
) -> None:
    chance, answers, calls = random.Random(SEED), Counter[int](), Calls()
    coming = enumerate(itertools.islice(bodies(chance), CALLS))
    async with listening(workspace) as slack:

        async def call(number: int, kind: str, body: Json) -> None:
            sent, content = _encoded(chance, kind, body)
            headers = signed(sent) if number % 20 else {**signed(sent), "X-Slack-Signature": "v0=é"}
            request = calls.request("/slack/events", sent, **headers, Content_Type=content)
            try:
                answer = await slack.endpoint(request)
            except Exception as error:
                raise AssertionError(f"seed {SEED}, call {number}: {content} {sent[:1500]!r}") from error
            answers[answer.status] += 1
            assert answer.status < 500 and not failures, f"seed {SEED}, call {number}: {sent[:1500]!r}"

        while together := list(itertools.islice(coming, TOGETHER)):
            await asyncio.gather(*(call(number, *one) for number, one in together))
    assert set(answers) <= {200, 400, 401, 404} and answers[200] > CALLS // 5, answers


async def _send(fake: FakeSlack, chance: random.Random, kind: str, body: Any, number: int) -> None:
    """An envelope to one of the sockets, itself mutated now and then."""
    envelope: Any = {"type": kind, "envelope_id": f"f{number}", "payload": body, "retry_attempt": 0}
    envelope |= {"accepts_response_payload": kind != "events_api", "retry_reason": ""}
    if chance.random() < 0.2:
        envelope = mutated(chance, envelope)
    sent = garbled(chance, json.dumps(envelope)).decode("utf-8", "replace")
    await fake.sockets[number % 2].send_str(sent)


async def test_envelopes_of_slack_are_acknowledged_or_ignored_and_both_sockets_live_on(
    workspace: FakeSlack, failures: list[logging.LogRecord]
) -> None:
    chance, number = random.Random(SEED), 0
    async with listening(workspace, app_token=APP_TOKEN):
        await workspace.connected(2)
        sockets = list(workspace.sockets)
        for number, (kind, body) in enumerate(itertools.islice(bodies(chance), CALLS // 5)):
            await _send(workspace, chance, kind, body, number)
            if number % TOGETHER == 0:
                assert await workspace.command("UADA", f"{number}")
                assert not failures, f"seed {SEED}, up to envelope {number}"
        for _ in range(2):  # each socket in turn
            assert await workspace.command("UADA", "status")
        assert workspace.sockets == sockets and not failures


async def test_calls_over_the_wire_to_a_bot_that_speaks(
    workspace: FakeSlack, bot: App, failures: list[logging.LogRecord]
) -> None:
    chance, answers = random.Random(SEED), Counter[int]()
    async with listening(workspace, bot.dispatcher.handle) as slack, aiohttp.ClientSession() as session:
        server = HttpServer("127.0.0.1", 0, ready=lambda: True, down=list, endpoints=slack.endpoints)
        await server.start()
        for number, (kind, body) in enumerate(itertools.islice(bodies(chance), CALLS // 50)):
            sent, content = _encoded(chance, kind, body)
            headers = {**signed(sent), "Content-Type": content}
            url = f"http://127.0.0.1:{server.port}/slack/events"
            async with session.post(url, data=sent, headers=headers) as answer:
                answers[answer.status] += 1
            assert answer.status < 500 and not failures, f"seed {SEED}, call {number}: {sent[:1500]!r}"
        await server.stop()
    assert answers[200] > CALLS // 250, answers
