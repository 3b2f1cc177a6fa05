"""A copy in memory of one kind of object, kept by list and watch."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from bot.cluster import shapes
from bot.cluster.client import Api, ApiError, Json
from bot.cluster.set_aside import why
from bot.core.backoff import Backoff
from bot.core.chat.errors import UserError
from bot.core.counters import FAILURES

PAGE_SIZE = 500
"""Objects that one answer to a list holds at most."""
REFUSALS_FORGIVEN = 5
"""Of what was allowed before: an API server that has just started does not know the roles yet."""

log = structlog.get_logger()
Key = tuple[str, str]
"""Namespace and name of an object; the namespace is empty for those of the whole cluster."""
NO_KEY: Key = ("", "")
"""Of what is no object."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a mirror is; all in seconds."""

    first_pause: float = 0.5
    longest_pause: float = 30.0
    """The pauses between two tries, which double from the first to the longest."""
    healthy_watch: float = 5.0
    """A watch that lived so long worked: it is opened again at once, and pauses begin small again."""
    stalled_after: float = 60.0
    """A mirror that nothing has brought up to date for so long is stalled."""
    told_within: float = 2.0
    """A watch tells so soon what was written; if not, everything is read again."""


USUAL_PACE = Pace()


class Mirror:
    """Follows the objects at a path of the API.

    `transform` reduces an object to what is worth remembering, `on_change` is called with what was
    remembered before and what is now; None stands for an object that is not there."""

    def __init__(
        self,
        api: Api,
        path: str,
        on_change: Callable[[Any, Any], None],
        transform: Callable[[Json], Any] = lambda thing: thing,
        *,
        pace: Pace = USUAL_PACE,
        **query: str,
    ) -> None:
        self.items: dict[Key, Any] = {}
        """What is remembered of each object."""
        self.broken: dict[Key, str] = {}
        """Why an object cannot be taken as it is now: what is remembered of it is older."""
        self.synced = asyncio.Event()
        """Set once all objects are known, or once it is known that we may not see them."""
        self.forbidden = False
        """The API server has refused to show these objects to us, and has not shown them since."""
        self._api, self._path, self._query = api, path, query
        self._on_change, self._transform = on_change, transform
        self._versions: dict[Key, int] = {}
        self._listing = asyncio.Lock()
        self._listed = 0
        """The version of the newest list."""
        self._pace = pace
        self._backoff = Backoff(pace.first_pause, pace.longest_pause)
        self._refusals = REFUSALS_FORGIVEN
        self._time = asyncio.get_running_loop().time
        self._up_to_date = self._time()
        """When a list or a watch last showed how things are."""
        self._reached, self._moved = 0, asyncio.Event()
        """The version up to which everything is known, and what tells of a later one."""
        self._opened: float | None = None
        """When the watch that is open now was opened."""

    @property
    def stalled(self) -> bool:
        """What is remembered may be old: nothing has brought it up to date for a while."""
        return self._opened is None and self._time() - self._up_to_date > self._pace.stalled_after

    async def reach(self, version: int) -> None:
        """Wait until all is known that was written up to a version: the watch tells it in order. UserError
        when the API does not answer."""
        try:
            async with asyncio.timeout(self._pace.told_within):
                while self._reached < version:
                    await self._moved.wait()
        except TimeoutError:
            await self._list()

    async def run(self) -> None:
        """Follow for ever. Whatever goes wrong, even a bug of ours, ends in a pause and a new list."""
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._watch(version)
            except Exception as error:
                pause = self._pause_after(error)
            await asyncio.sleep(pause)

    def _pause_after(self, error: Exception) -> float:
        """Log what went wrong; seconds until the next try."""
        status = error.status if isinstance(error, ApiError) else 0
        known = status == 403 and self.forbidden
        if status == 403:
            self._refusals += 1
            self.forbidden = self._refusals > REFUSALS_FORGIVEN
        if self.forbidden:
            self.synced.set()  # there is nothing to wait for
        if known:
            pass  # it was said once
        elif isinstance(error, UserError):
            log.warning("mirror.interrupted", path=self._path, status=status, why=error.text.key)
        else:
            log.error("mirror.failed", path=self._path, why=repr(error), exc_info=error)
        return self._backoff.pause()

    async def _list(self) -> str:
        """Learn of all objects, page by page; the version to watch from."""
        async with self._listing:  # an older list that ends after a newer one would look like a rewind
            return await self._list_pages()

    async def _list_pages(self) -> str:
        found: set[Key] = set()
        query = dict(self._query) | {"limit": str(PAGE_SIZE)}
        while True:
            page = await self._api.request("GET", self._path, query=query)
            self._notice_rewind(int(page["metadata"]["resourceVersion"]))
            found.update(map(self.put, page["items"]))
            onward = page["metadata"].get("continue")
            if not onward:
                break
            query["continue"] = onward
        version: str = page["metadata"]["resourceVersion"]
        if NO_KEY not in found:  # else what is missing may be what nobody can read
            for gone in {*self.items, *self.broken} - found:
                self.discard(gone, int(version))
        self.forbidden, self._refusals = False, 0
        self._up_to_date = self._time()
        self.synced.set()
        self._move(int(version))
        return version

    def _notice_rewind(self, version: int) -> None:
        """Versions that go back mean that the API server's database was restored from a backup: what we have
        seen since is not newer, it never was."""
        if version < self._listed:
            log.warning("mirror.rewound", path=self._path, before=self._listed, now=version)
            self._versions.clear()
        self._listed = version

    async def _watch(self, version: str) -> str:
        """Follow changes until the server ends the watch; the version to go on from.

        Servers end a watch after some minutes. One that ends sooner is opened again after a pause."""
        try:
            version = await self._follow(version)
        finally:
            if healthy := self._lived() >= self._pace.healthy_watch:
                self._backoff.reset()
                self._up_to_date = self._time()
            self._opened = None
        if not healthy:
            await asyncio.sleep(self._backoff.pause())
        return version

    def _lived(self) -> float:
        """Seconds since the server opened the watch that is open now."""
        return 0.0 if self._opened is None else self._time() - self._opened

    async def _follow(self, version: str) -> str:
        async with self._api.watch(self._path, version, self._query) as events:
            self._opened = self._time()
            async for event in events:
                thing = event["object"]
                version = str(_version(thing))
                if event["type"] == "DELETED":
                    self.discard(_key(thing), int(version))
                elif event["type"] != "BOOKMARK":
                    self.put(thing)
                self._up_to_date = self._time()
                self._move(int(version))
        return version

    def _move(self, version: int) -> None:
        """Everything is known up to a version; those that wait look at it."""
        self._reached = version
        self._moved.set()
        self._moved.clear()

    def put(self, thing: Json) -> Key:
        """Take an object as newest, unless a newer one is here (our own writes come first). One that cannot
        be taken stops no other: what was known of it stays. NO_KEY for what is no object at all."""
        try:
            key, version = _key(thing), _version(thing)
        except (TypeError, LookupError, ValueError, AttributeError) as error:
            FAILURES.labels("watch").inc()
            log.error("mirror.no_object", path=self._path, why=why(error), exc_info=error)
            return NO_KEY
        if version >= self._versions.get(key, 0):
            self._versions[key] = version
            self._take(key, thing)
        return key

    def _take(self, key: Key, thing: Json) -> None:
        try:
            old, new = self.items.get(key), self._transform(thing)
        except Exception as error:
            if key not in self.broken:
                FAILURES.labels("watch").inc()
                log.error("mirror.unreadable", path=self._path, name="/".join(key), exc_info=error)
            self.broken[key] = why(error)
            return
        self.broken.pop(key, None)
        self.items[key] = new
        self._tell(old, new)

    def _tell(self, old: Any, new: Any) -> None:
        """Tell of a change. A mistake of whoever listens is theirs."""
        if old == new:
            return
        try:
            self._on_change(old, new)
        except Exception as error:
            FAILURES.labels("watch").inc()
            log.error("mirror.not_heard", path=self._path, why=why(error), exc_info=error)

    def discard(self, key: Key, version: int | None = None) -> None:
        """Forget an object, unless one of that name that is newer than `version` is here."""
        if version is not None and version < self._versions.get(key, 0):
            return
        for held in (self._versions, self.broken):
            held.pop(key, None)
        self._tell(self.items.pop(key, None), None)


def _version(thing: Json) -> int:
    """ValueError if it is none: a number that is too large would hide all that comes later."""
    if not (version := shapes.version(thing["metadata"]["resourceVersion"])):
        raise ValueError("a resourceVersion that is none")
    return int(version)


def _key(thing: Json) -> Key:
    metadata = thing["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    if not (isinstance(namespace, str) and isinstance(name, str)):
        raise TypeError("a name that is none")
    return namespace, name
