"""The mirror, over a socket, against an API server that forgets, hangs up and talks nonsense."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from structlog.testing import capture_logs

from bot.cluster.client import Api
from bot.cluster.mirror import REFUSALS_FORGIVEN, USUAL_PACE, Mirror, Pace
from tests.conftest import eventually, settle


class FakeApi:
    """`things` by name; each watch plays the next script of `watches`, then `usual`, then stays open.

    `broken` are items of a list that are no objects; `requests` are the moments of all requests."""

    def __init__(self) -> None:
        self.things: dict[str, int] = {}
        self.version = 1
        self.watches: list[list[object]] = []
        self.lists: list[dict[str, str]] = []
        self.watched_from: list[str] = []
        self.status = 200
        self.refused = 0
        self.port = 0
        self.usual: list[object] = []
        self.broken: list[object] = []
        self.requests: list[float] = []

    async def start(self) -> None:
        """Listen; at the same port as before, if it was stopped."""
        app = web.Application()
        app.router.add_get("/things", self.handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, name: str) -> dict[str, Any]:
        self.version += 1
        self.things[name] = self.version
        return thing(name, self.version)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(asyncio.get_running_loop().time())
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
        return web.json_response({"metadata": metadata, "items": items + self.broken})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watched_from.append(request.query["resourceVersion"])
        stream = web.StreamResponse()
        await stream.prepare(request)
        for event in self.watches.pop(0) if self.watches else self.usual:
            if isinstance(event, asyncio.Event):
                await event.wait()
                continue
            if isinstance(event, float):
                await asyncio.sleep(event)
                continue
            if event == "hang up":
                assert request.transport
                request.transport.abort()
                return stream
            if event == "end":
                return stream
            line = event if isinstance(event, str) else json.dumps(event)
            await stream.write(line.encode() + b"\n")
        await asyncio.sleep(60)
        return stream


def thing(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": name, "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": thing(name, version)}


EXPIRED = {
    "type": "ERROR",
    "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
}
TOO_MANY = {
    "type": "ERROR",
    "object": {
        "kind": "Status",
        "code": 429,
        "reason": "TooManyRequests",
        "message": "storage is (re)initializing",
    },
}


class Seen:
    """A mirror at work, and what it told."""

    def __init__(self, api: Api, pace: Pace = USUAL_PACE) -> None:
        self.told: list[set[str]] = []
        self.mistakes = 0
        self.mirror = Mirror(api, "/things", self._changed, pace=pace)

    def _changed(self, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        if self.mistakes:
            self.mistakes -= 1
            raise AttributeError("a mistake of ours")
        self.told.append(self.names)

    @property
    def names(self) -> set[str]:
        return {name for _, name in self.mirror.items}


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeApi]:
    fake = FakeApi()
    await fake.start()
    yield fake
    await fake.stop()


@asynccontextmanager
async def following(url: str, pace: Pace = USUAL_PACE) -> AsyncIterator[Seen]:
    """A mirror that runs until the end of the block."""
    api = Api(ApiClient(Configuration(host=url)))
    seen = Seen(api, pace)
    task = asyncio.create_task(seen.mirror.run())
    try:
        yield seen
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


@pytest_asyncio.fixture
async def seen(fake: FakeApi) -> AsyncIterator[Seen]:
    async with following(fake.url) as seen:
        yield seen


async def test_all_pages_are_listed_and_changes_followed(fake: FakeApi, seen: Seen) -> None:
    for name in "abcde":
        fake.put(name)
    fake.watches = [[event("ADDED", "f", 10), event("MODIFIED", "a", 11), event("DELETED", "b", 12)]]
    await eventually(lambda: seen.names == set("acdef"))
    assert len(fake.lists) == 3 and seen.mirror.synced.is_set()


async def test_a_gone_object_is_noticed_after_an_expired_version(fake: FakeApi, seen: Seen) -> None:
    fake.put("a")
    fake.put("b")
    expire = asyncio.Event()
    fake.watches = [[expire, EXPIRED]]
    await eventually(lambda: seen.names == {"a", "b"})
    del fake.things["a"]
    expire.set()
    await eventually(lambda: seen.names == {"b"})


async def test_the_end_of_a_watch_goes_on_from_its_last_version(fake: FakeApi, seen: Seen) -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}}
    fake.watches = [[event("ADDED", "a", 50), bookmark, "end"]]
    await eventually(lambda: fake.watched_from[1:] == ["77"])
    assert len(fake.lists) == 1


async def test_hanging_up_nonsense_and_errors_are_survived(fake: FakeApi, seen: Seen) -> None:
    fake.watches = [["hang up"], ["{not json"], [event("ADDED", "a", 50)]]
    await eventually(lambda: "a" in seen.names)


async def test_an_api_that_is_away_comes_back(fake: FakeApi, seen: Seen) -> None:
    fake.status = 503
    await eventually(lambda: fake.refused > 1)
    assert not seen.mirror.synced.is_set()
    fake.put("a")
    fake.status = 200
    await eventually(lambda: seen.names == {"a"})


async def test_without_the_right_it_does_not_wait(fake: FakeApi, seen: Seen) -> None:
    fake.status = 403
    await eventually(seen.mirror.synced.is_set)
    assert seen.mirror.forbidden and seen.names == set()


async def test_what_is_refused_stays_so_whatever_else_goes_wrong_until_it_is_shown(fake: FakeApi) -> None:
    fake.status = 403
    pace = Pace(first_pause=0.05, longest_pause=0.1)
    with capture_logs() as logs:
        async with following(fake.url, pace) as seen:
            await eventually(lambda: seen.mirror.forbidden)
            fake.status = 503
            await eventually(lambda: any(entry.get("status") == 503 for entry in logs))
            assert seen.mirror.forbidden
            fake.put("a")
            fake.status = 200
            await eventually(lambda: seen.names == {"a"})
            assert not seen.mirror.forbidden


async def test_who_starts_while_the_api_server_does_is_not_blind_for_minutes(fake: FakeApi) -> None:
    fake.status = 403  # its authorizer does not know the roles yet
    async with following(fake.url, Pace()) as seen:
        await eventually(lambda: seen.mirror.forbidden)
        fake.put("a")
        fake.status = 200
        await eventually(lambda: seen.names == {"a"}, 30)


async def test_an_api_server_that_restarts_refuses_for_a_moment_and_is_followed_on(
    fake: FakeApi, seen: Seen
) -> None:
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


async def test_an_api_server_with_too_much_to_do_is_asked_again_until_it_has_not(fake: FakeApi) -> None:
    fake.put("a")  # kopf 1011: a watch that was refused once was the last
    expire = asyncio.Event()
    fake.watches = [[expire, EXPIRED]]
    async with following(fake.url, Pace(first_pause=0.05, longest_pause=0.1)) as seen:
        await eventually(lambda: seen.names == {"a"} and fake.watched_from)
        fake.status = 429
        expire.set()
        await eventually(lambda: fake.refused > REFUSALS_FORGIVEN)
        fake.put("b")
        fake.status = 200
        await eventually(lambda: seen.names == {"a", "b"})
        assert not seen.mirror.forbidden


async def test_what_others_wrote_before_us_is_known_once_our_own_write_is_told(
    fake: FakeApi, seen: Seen
) -> None:
    told = asyncio.Event()
    fake.watches = [[told, event("ADDED", "theirs", 7), event("ADDED", "ours", 8)]]
    await eventually(seen.mirror.synced.is_set)
    seen.mirror.put(thing("ours", 8))
    reached = asyncio.create_task(seen.mirror.reach(8))
    await settle()
    assert not reached.done()
    told.set()
    await reached
    assert seen.names == {"theirs", "ours"} and len(fake.lists) == 1


async def test_a_watch_that_does_not_tell_our_own_write_is_not_waited_for(fake: FakeApi) -> None:
    async with following(fake.url, Pace(told_within=0.05)) as seen:
        await eventually(seen.mirror.synced.is_set)
        fake.put("theirs")
        await seen.mirror.reach(fake.version)
        assert seen.names == {"theirs"}


async def test_what_we_wrote_ourselves_is_not_undone_by_older_news(fake: FakeApi, seen: Seen) -> None:
    await eventually(seen.mirror.synced.is_set)
    seen.mirror.put(thing("a", 100) | {"ours": True})
    seen.mirror.put(thing("a", 99))
    assert seen.mirror.items["n", "a"]["ours"]
    seen.mirror.discard(("n", "a"), 99)
    assert seen.names == {"a"}
    seen.mirror.discard(("n", "a"), 101)
    assert seen.names == set()


SECONDS_WATCHED = 1.0
REQUESTS_ALLOWED = 6
"""In so many seconds: a pause takes half a second or more, and each time a list and a watch are asked for."""


@pytest.mark.parametrize(
    "usual",
    [
        ["end"],
        ["hang up"],
        [EXPIRED],
        ["{not json"],
        ["null"],
        ['{"type": "ADDED", "object": {"kind": "Thing"}}'],
        ['{"type": "ADDED", "object": {"metadata": null}}'],
        ['{"type": "ERROR", "object": []}'],
        [TOO_MANY],
    ],
    ids=str,
)
async def test_an_api_server_that_behaves_badly_is_asked_seldom_and_followed_when_it_is_well(
    fake: FakeApi, usual: list[object]
) -> None:
    fake.usual = usual
    async with following(fake.url, Pace(longest_pause=0.6)) as seen:
        await eventually(lambda: fake.requests)
        begun = fake.requests[0]
        await asyncio.sleep(SECONDS_WATCHED)
        asked = [moment for moment in fake.requests if moment - begun < SECONDS_WATCHED]
        assert 2 <= len(asked) <= REQUESTS_ALLOWED
        fake.usual = [event("ADDED", "z", 99)]
        await eventually(lambda: "z" in seen.names)


@pytest.mark.parametrize(
    "broken", [None, {}, {"metadata": None}, {"metadata": {"name": "b", "resourceVersion": []}}], ids=str
)
async def test_an_object_in_a_list_that_is_none_stops_no_other_and_hides_none(
    fake: FakeApi, broken: object
) -> None:
    fake.put("a")
    fake.put("b")
    expire = asyncio.Event()
    fake.watches = [[expire, EXPIRED]]
    with capture_logs() as logs:
        async with following(fake.url) as seen:
            await eventually(lambda: seen.names == {"a", "b"} and fake.watched_from)
            del fake.things["b"]  # it may be the one that nobody can read
            fake.broken = [broken]
            expire.set()
            await eventually(lambda: len(fake.watched_from) > 1)
            assert seen.names == {"a", "b"}
    failed = next(entry for entry in logs if entry["event"] == "mirror.no_object")
    assert isinstance(failed["exc_info"], Exception) and failed["exc_info"].__traceback__
    assert failed["path"] == "/things" and failed["log_level"] == "error"


async def test_a_mistake_of_whoever_listens_is_logged_and_the_mirror_goes_on(fake: FakeApi) -> None:
    go = asyncio.Event()
    fake.watches = [[go, event("ADDED", "a", 60)]]
    fake.usual = [event("ADDED", "b", 61)]
    with capture_logs() as logs:
        async with following(fake.url) as seen:
            await eventually(lambda: fake.watched_from)
            seen.mistakes = 1
            go.set()
            await eventually(lambda: "b" in seen.names)
    assert [entry["why"] for entry in logs] == ["AttributeError: a mistake of ours"]


async def test_why_an_object_cannot_be_read_holds_no_secret(fake: FakeApi) -> None:
    def unreadable(_: object) -> None:
        raise ValueError("no number: token=hf_abcdefghijklmnop \x07")

    api = Api(ApiClient(Configuration(host=fake.url)))
    mirror = Mirror(api, "/things", lambda *_: None, unreadable)
    mirror.put(thing("a", 1))
    assert list(mirror.broken.values()) == ["ValueError: no number: token=••• \\x07"]
    await api.close()


async def test_pauses_grow_while_it_is_bad_and_begin_small_after_a_watch_that_worked(fake: FakeApi) -> None:
    fake.watches = [["end"], ["end"], ["end"], ["end"], [0.5, "end"], ["end"]]
    async with following(fake.url, Pace(first_pause=0.1, healthy_watch=0.4)):
        await eventually(lambda: len(fake.watched_from) == 7)
    gaps = [later - sooner for sooner, later in itertools.pairwise(fake.requests[1:])]
    assert gaps[3] > 4 * gaps[0] > 0.2
    assert gaps[4] < 0.5 + 0.4, "opened again at once after it lived for 0.5 s"
    assert gaps[5] < 0.8, "the pause would be 1.6 s otherwise"


async def test_a_mirror_that_nothing_brings_up_to_date_is_stalled_until_it_is_followed_again(
    fake: FakeApi,
) -> None:
    pace = Pace(first_pause=0.1, longest_pause=0.2, stalled_after=0.5)
    down = asyncio.Event()
    fake.watches = [[down, "hang up"]]
    async with following(fake.url, pace) as seen:
        await eventually(lambda: fake.watched_from)
        await asyncio.sleep(2 * pace.stalled_after)
        assert not seen.mirror.stalled, "nothing happens, and it would hear of it"
        fake.status = 503
        down.set()
        await eventually(lambda: seen.mirror.stalled)
        fake.status, fake.usual = 200, ["end"]
        await eventually(lambda: not seen.mirror.stalled)
        await eventually(lambda: seen.mirror.stalled)  # watches that show nothing are no news
        fake.usual = []
        await eventually(lambda: not seen.mirror.stalled)


async def test_a_server_that_is_not_there_is_asked_ever_less_often_and_followed_again(fake: FakeApi) -> None:
    with capture_logs() as logs:
        async with following(fake.url) as seen:
            await eventually(lambda: fake.watched_from)
            await fake.stop()
            begun = asyncio.get_running_loop().time()
            await eventually(lambda: logs)
            await asyncio.sleep(SECONDS_WATCHED)
            passed = asyncio.get_running_loop().time() - begun
            assert len([entry for entry in logs if entry["event"] == "mirror.interrupted"]) <= 2 * passed
            fake.put("a")
            await fake.start()
            await eventually(lambda: seen.names == {"a"})


async def test_what_we_wrote_after_a_list_was_made_is_not_forgotten_by_it(fake: FakeApi) -> None:
    expire = asyncio.Event()
    fake.watches = [[expire, EXPIRED]]
    async with following(fake.url) as seen:
        await eventually(lambda: fake.watched_from)
        seen.mirror.put(thing("ours", 100))
        expire.set()
        await eventually(lambda: len(fake.watched_from) == 2)
        assert seen.told == [{"ours"}]


async def test_an_api_server_that_was_restored_from_a_backup_is_believed(fake: FakeApi) -> None:
    fake.version = 1000
    fake.put("a")
    fake.put("gone")
    restore = asyncio.Event()
    fake.watches = [[restore, EXPIRED]]
    async with following(fake.url) as seen:
        await eventually(lambda: seen.names == {"a", "gone"})
        fake.things, fake.version = {"a": 7}, 10
        restore.set()
        await eventually(lambda: seen.names == {"a"})
        [known] = seen.mirror.items.values()
        assert known["metadata"]["resourceVersion"] == "7"
