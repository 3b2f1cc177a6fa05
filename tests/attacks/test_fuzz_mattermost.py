"""Nonsense instead of Mattermost's calls: clicks, dialogs and commands are answered or refused."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from urllib.parse import urlencode

from structlog.testing import capture_logs

from bot.core.chat.message import Message, Place, User
from bot.core.chat.reply import Reply
from bot.platforms.mattermost.buttons import CLICK, FORM, STOP, Buttons
from bot.platforms.mattermost.callbacks import Callbacks
from bot.platforms.mattermost.context import MattermostContext
from bot.platforms.mattermost.inbound import MattermostInbound
from bot.platforms.mattermost.people import MattermostPeople
from bot.platforms.mattermost.posts import MattermostEdits, MattermostThreads
from bot.platforms.mattermost.rest import RestClient
from bot.platforms.shared.presenter import Origin
from tests.attacks.fuzz import CALLS, SEED, TOGETHER, Calls, garbled, mutated


class Nobody(MattermostInbound):
    """Knows everybody, and answers nothing."""

    async def person(self, user: str, team: str) -> User:
        return User(user, user)

    async def resolve_place(self, place: Place, user: User, origin: Origin) -> tuple[Place, Origin]:
        return place, origin


async def silence(message: Message) -> AsyncGenerator[Reply, str | None]:
    """What `handle` does with a line that has no reply."""
    assert isinstance(message.text, str) and isinstance(message.about, str)
    return
    yield Reply()


FORMS = "application/x-www-form-urlencoded"
COMMAND = {
    "token": "s3cret", "team_id": "t1", "channel_id": "c1", "user_id": "u1", "trigger_id": "tr",
    "response_url": "http://127.0.0.1/x", "text": "status", "root_id": "",
}  # fmt: skip


def _calls_of_mattermost(chance: random.Random, buttons: Buttons) -> Iterator[tuple[str, bytes, str]]:
    """Path, body and type of content: those of real calls, mutated; half of them signed as they should be."""
    place = {"channel": "c1", "thread": ""}
    for number in itertools.count():
        line = {"line": "stop tinyllama", "about": "", "label": "Stop", "confirm": "", **place}
        signed = buttons.signer.sign(CLICK, **line)
        state = buttons.signer.sign(FORM, user="u1", names="model ttl", required="model", **line)
        stop = buttons.signer.sign(STOP, key="k", channel="c1")
        button = chance.choice(({"purpose": CLICK, "signed": signed}, {"purpose": STOP, "signed": stop}))
        person = {"user_id": "u1", "channel_id": "c1", "team_id": "t1", "trigger_id": f"t{number}"}
        click = {**person, "post_id": "p1", "type": "button", "context": button}
        dialog = {**person, "callback_id": "form", "state": state, "submission": {"model": "a", "ttl": None}}
        what, body = chance.choice((("action", click), ("dialog", dialog), ("command", COMMAND)))
        kind = FORMS if what == "command" else "application/json"
        kind = kind if chance.random() < 0.95 else chance.choice(("text/plain", "multipart/form-data", kind))
        for _ in range(chance.choice((0, 1, 1, 2, 4))):
            body = mutated(chance, body)
        if what == "command":
            with suppress(TypeError, ValueError):
                yield what, garbled(chance, urlencode(body)), kind
        else:
            yield what, garbled(chance, json.dumps(body)), kind


async def test_calls_of_mattermost_are_answered_or_refused() -> None:
    chance, buttons = random.Random(SEED), Buttons("token", "http://bot")
    rest = RestClient("http://127.0.0.1:9", "token", True)
    context = MattermostContext(rest, MattermostThreads(rest, "token"), MattermostEdits(rest), buttons)
    with capture_logs() as logged:
        inbound = Nobody(context, MattermostPeople(rest, ()), silence, lambda _: lambda text: text.key)
        callbacks, calls = Callbacks(inbound, {"t1": "s3cret"}, lambda _: lambda text: text.key), Calls()
        answers: Counter[int] = Counter()

        async def call(number: int, what: str, body: bytes, kind: str) -> None:
            shown = "Token s3cret" if number % 10 else chance.choice(("", "Token", "Token é", "Basic s3cret"))
            sent = calls.request(f"/mattermost/{what}", body, Content_Type=kind, Authorization=shown)
            try:
                answer = await getattr(callbacks, what)(sent)
            except Exception as error:
                raise AssertionError(f"seed {SEED}, call {number}: {what} {body[:800]!r}") from error
            answers[answer.status] += 1

        coming = enumerate(itertools.islice(_calls_of_mattermost(chance, buttons), CALLS))
        while together := list(itertools.islice(coming, TOGETHER)):
            await asyncio.gather(*(call(number, *one) for number, one in together))
        await inbound.close()
        await rest.close()
    assert set(answers) <= {200, 400, 401, 403, 413, 415} and answers[200] > CALLS // 20, answers
    assert [line for line in logged if line["log_level"] == "error"] == []
