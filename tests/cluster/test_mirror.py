"""The mirror, over a socket, against an API server that forgets, hangs up and talks nonsense."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest_asyncio
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from bot.cluster.client import Api
from bot.cluster.mirror import Mirror
from tests.conftest import eventually


class FakeApi:
    """`things` by name; each watch plays the next script of `watches`, then stays open."""

    def __init__(self) -> None:
        self.things: dict[str, int] = {}
        self.version = 1
        self.watches: list[list[object]] = []
        self.lists: list[dict[str, str]] = []
        self.watched_from: list[str] = []
        self.status = 200
        self.refused = 0

    def put(self, name: str) -> dict:
        self.version += 1
        self.things[name] = self.version
        return thing(name, self.version)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.status != 200:
            self.refused += 1
            return web.json_response({"message": "no", "reason": "x"}, status=self.status)
        if "watch" in request.query:
            return await self._watch(request)
        self.lists.append(dict(request.query))
        names = sorted(self.things)
        begin = int(request.query.get("continue", "0"))
        page = names[begin : begin + 2]
        metadata = {"resourceVersion": str(self.version)}
        if begin + 2 < len(names):
            metadata["continue"] = str(begin + 2)
        items = [thing(name, self.things[name]) for name in page]
        return web.json_response({"metadata": metadata, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watched_from.append(request.query["resourceVersion"])
        stream = web.StreamResponse()
        await stream.prepare(request)
        for event in self.watches.pop(0) if self.watches else []:
            if isinstance(event, asyncio.Event):
                await event.wait()
                continue
            if event == "hang up":
                request.transport.abort()
                return stream
            if event == "end":
                return stream
            line = event if isinstance(event, str) else json.dumps(event)
            await stream.write(line.encode() + b"\n")
        await asyncio.sleep(60)
        return stream


def thing(name: str, version: int) -> dict:
    return {"metadata": {"namespace": "n", "name": name, "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int) -> dict:
    return {"type": kind, "object": thing(name, version)}


EXPIRED = {
    "type": "ERROR",
    "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
}


class Seen:
    """A mirror at work, and what it told."""

    def __init__(self, api: Api) -> None:
        self.changes: list[tuple[bool, bool]] = []
        self.mirror = Mirror(api, "/things", lambda old, new: self.changes.append((old is None, new is None)))

    @property
    def names(self) -> set[str]:
        return {name for _, name in self.mirror.items}


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeApi]:
    fake = FakeApi()
    app = web.Application()
    app.router.add_get("/things", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest_asyncio.fixture
async def seen(fake) -> AsyncIterator[Seen]:
    configuration = Configuration(host=fake.url)
    api = Api(ApiClient(configuration))
    seen = Seen(api)
    task = asyncio.create_task(seen.mirror.run())
    yield seen
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await api.close()


async def test_all_pages_are_listed_and_changes_followed(fake, seen):
    for name in "abcde":
        fake.put(name)
    fake.watches = [[event("ADDED", "f", 10), event("MODIFIED", "a", 11), event("DELETED", "b", 12)]]
    await eventually(lambda: seen.names == set("acdef"))
    assert len(fake.lists) == 3 and seen.mirror.synced.is_set()


async def test_a_gone_object_is_noticed_after_an_expired_version(fake, seen):
    fake.put("a")
    fake.put("b")
    expire = asyncio.Event()
    fake.watches = [[expire, EXPIRED]]
    await eventually(lambda: seen.names == {"a", "b"})
    del fake.things["a"]
    expire.set()
    await eventually(lambda: seen.names == {"b"})


async def test_the_end_of_a_watch_goes_on_from_its_last_version(fake, seen):
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}}
    fake.watches = [[event("ADDED", "a", 50), bookmark, "end"]]
    await eventually(lambda: fake.watched_from[1:] == ["77"])
    assert len(fake.lists) == 1


async def test_hanging_up_nonsense_and_errors_are_survived(fake, seen):
    fake.watches = [["hang up"], ["{not json"], [event("ADDED", "a", 50)]]
    await eventually(lambda: "a" in seen.names)


async def test_an_api_that_is_away_comes_back(fake, seen):
    fake.status = 503
    await eventually(lambda: fake.refused > 1)
    assert not seen.mirror.synced.is_set()
    fake.put("a")
    fake.status = 200
    await eventually(lambda: seen.names == {"a"})


async def test_without_the_right_it_does_not_wait(fake, seen):
    fake.status = 403
    await eventually(seen.mirror.synced.is_set)
    assert seen.mirror.forbidden and seen.names == set()


async def test_an_api_server_that_restarts_refuses_for_a_moment_and_is_followed_on(fake, seen):
    fake.put("a")
    hang_up = asyncio.Event()
    fake.watches = [[hang_up, "end"]]
    await eventually(lambda: seen.names == {"a"} and fake.watched_from)
    fake.status = 403  # its authorizer does not know the roles yet
    hang_up.set()
    await eventually(lambda: fake.refused)
    fake.put("b")
    fake.status = 200
    await eventually(lambda: seen.names == {"a", "b"})
    assert not seen.mirror.forbidden


async def test_what_we_wrote_ourselves_is_not_undone_by_older_news(fake, seen):
    await eventually(seen.mirror.synced.is_set)
    seen.mirror.put(thing("a", 100) | {"ours": True})
    seen.mirror.put(thing("a", 99))
    assert seen.mirror.items["n", "a"]["ours"]
    seen.mirror.discard(("n", "a"), 99)
    assert seen.names == {"a"}
    seen.mirror.discard(("n", "a"), 101)
    assert seen.names == set()
