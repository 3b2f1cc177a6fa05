"""Requests to the API over a socket: what is repeated when it is away for a moment, and what never is."""

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
import pytest_asyncio
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from bot.cluster.client import STRATEGIC_PATCH, Api, ApiError
from bot.core.chat.errors import UserError

THING = {"metadata": {"name": "a"}}


Answer = int | tuple[int, dict[str, str]] | Literal["hang up"]
"""A status, alone or with headers; or the connection ends without one."""


class FlakyApi:
    """Plays `answers`, then answers as it should."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[Answer] = []
        self.methods: list[str] = []
        self.event: dict[str, Any] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.methods.append(request.method)
        answer = self.answers.pop(0) if self.answers else 200
        if answer == "hang up":
            assert request.transport
            request.transport.abort()
            return web.Response()
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        if "watch" in request.query:
            return web.Response(body=json.dumps(self.event).encode() + b"\n")
        return web.json_response({"message": "so"}, status=status, headers=headers)


@pytest_asyncio.fixture
async def flaky() -> AsyncIterator[FlakyApi]:
    flaky = FlakyApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", flaky.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    flaky.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield flaky
    await runner.cleanup()


@pytest_asyncio.fixture
async def api(flaky: FlakyApi) -> AsyncIterator[Api]:
    api = Api(ApiClient(Configuration(host=flaky.url)))
    yield api
    await api.close()


@pytest.mark.parametrize("answer", [500, 502, 503, 504, "hang up", (429, {"Retry-After": "1"})], ids=str)
async def test_reading_and_what_may_be_repeated_are_tried_again_when_the_api_is_away_for_a_moment(
    flaky: FlakyApi, api: Api, answer: Answer
) -> None:
    flaky.answers = [answer]
    assert await api.request("GET", "/things") == {"message": "so"}
    flaky.answers = [answer]
    assert await api.request("POST", "/things", THING, repeatable=True) == {"message": "so"}
    assert flaky.methods == ["GET", "GET", "POST", "POST"]


async def test_it_is_tried_three_times_at_most(flaky: FlakyApi, api: Api) -> None:
    flaky.answers = [503] * 9
    with pytest.raises(ApiError) as away:
        await api.request("GET", "/things")
    assert away.value.status == 503 and flaky.methods == ["GET"] * 3


AWAY: list[Answer] = [503, "hang up", (429, {"Retry-After": "1"})]
WRITES = [("POST", "application/json", answer) for answer in AWAY]
WRITES += [("PATCH", STRATEGIC_PATCH, answer) for answer in AWAY]
WRITES += [("DELETE", "application/json", 503)]  # one that hears nothing at all aiohttp itself sends again


@pytest.mark.parametrize(("method", "content_type", "answer"), WRITES)
async def test_other_writes_may_have_been_done_and_are_not_repeated(
    flaky: FlakyApi, api: Api, method: str, content_type: str, answer: Answer
) -> None:
    flaky.answers = [answer]
    with pytest.raises(ApiError):
        await api.request(method, "/things", THING, None, content_type)
    assert flaky.methods == [method]


LOST: list[tuple[Answer, dict[str, str], bool]] = [
    *((answer, {}, True) for answer in (500, 503, 504, "hang up")),
    *((status, {}, False) for status in (400, 401, 403, 404, 409, 422, 429)),
    *((answer, {"dryRun": "All"}, False) for answer in (500, "hang up")),
]


@pytest.mark.parametrize(("answer", "query", "lost"), LOST)
async def test_what_may_have_been_done_is_told_from_what_was_refused(
    flaky: FlakyApi, api: Api, answer: Answer, query: dict[str, str], lost: bool
) -> None:
    flaky.answers = [answer]
    with pytest.raises(UserError) as refused:
        await api.request("POST", "/things", THING, query)
    assert getattr(refused.value, "lost", False) is lost
    assert (refused.value.text.key == "error.outcome_unknown") is lost


async def test_what_was_never_sent_was_not_done(unused_tcp_port: int) -> None:
    api = Api(ApiClient(Configuration(host=f"http://127.0.0.1:{unused_tcp_port}")))
    with pytest.raises(ApiError) as away:
        await api.request("POST", "/things", THING)
    assert not away.value.lost and away.value.text.key == "error.api_away"
    await api.close()


@pytest.mark.parametrize(
    "answer", [400, 401, 403, 404, 429, (429, {"Retry-After": "60"}), (503, {"Retry-After": "60"})], ids=str
)
async def test_a_refusal_and_a_long_wait_are_told_at_once(flaky: FlakyApi, api: Api, answer: Answer) -> None:
    flaky.answers = [answer]
    with pytest.raises(ApiError) as refused:
        await api.request("GET", "/things")
    status = answer[0] if isinstance(answer, tuple) else answer
    assert refused.value.status == status and flaky.methods == ["GET"]


async def test_the_largest_object_that_a_cluster_keeps_can_be_watched(flaky: FlakyApi, api: Api) -> None:
    flaky.event = {"type": "ADDED", "object": {"data": "x" * 1_500_000}}
    async with api.watch("/things", "1", {}) as events:
        assert [len(event["object"]["data"]) async for event in events] == [1_500_000]
