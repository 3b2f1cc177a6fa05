"""A copy in memory of one kind of object, kept by list and watch."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import structlog

from bot.cluster.client import Api, ApiError, Json
from bot.core.chat.errors import UserError

PAGE = 500
LONGEST_PAUSE = 30.0
FORBIDDEN_PAUSE = 300.0
REFUSALS_FORGIVEN = 5
"""Of what was allowed before: an API server that has just started does not know the roles yet."""

log = structlog.get_logger()
Key = tuple[str, str]


class Mirror:
    """`keep` turns an object into what is worth remembering; `changed` hears (old, new) of each."""

    def __init__(
        self,
        api: Api,
        path: str,
        changed: Callable[[Any, Any], None],
        keep: Callable[[Json], Any] = lambda thing: thing,
        **query: str,
    ) -> None:
        self.items: dict[Key, Any] = {}
        self.synced = asyncio.Event()
        self.forbidden = False
        self._api = api
        self._path = path
        self._query = query
        self._changed = changed
        self._keep = keep
        self._versions: dict[Key, int] = {}

    async def run(self) -> None:
        """Follow for ever: an expired version lists anew, anything else is tried again, ever slower."""
        pause, refusals = 0.5, REFUSALS_FORGIVEN
        while True:
            try:
                version = await self._list()
                self.synced.set()
                self.forbidden = False
                pause, refusals = 0.5, 0
                while True:
                    version = await self._follow(version)
            except UserError as error:
                status = error.status if isinstance(error, ApiError) else 0
                if status == 410:
                    continue
                refusals += status == 403
                self.forbidden = status == 403 and refusals > REFUSALS_FORGIVEN
                log.warning("mirror", path=self._path, status=status, why=error.text.key)
            except (ValueError, KeyError) as error:  # not what an API server says
                log.warning("mirror", path=self._path, why=repr(error))
            if self.forbidden:
                self.synced.set()  # there is nothing to wait for
                pause = FORBIDDEN_PAUSE
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _list(self) -> str:
        """All objects, page by page; the version to watch from."""
        found: set[Key] = set()
        query = dict(self._query) | {"limit": str(PAGE)}
        while True:
            page = await self._api.request("GET", self._path, query=query)
            for thing in page["items"]:
                found.add(self.put(thing))
            onward = page["metadata"].get("continue")
            if not onward:
                break
            query["continue"] = onward
        for gone in set(self.items) - found:
            self.discard(gone)
        version: str = page["metadata"]["resourceVersion"]
        return version

    async def _follow(self, version: str) -> str:
        async for event in self._api.watch(self._path, version, self._query):
            thing = event["object"]
            version = thing["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                self.discard(_key(thing), int(version))
            elif event["type"] != "BOOKMARK":
                self.put(thing)
        return version

    def put(self, thing: Json) -> Key:
        """Take an object as newest, unless a newer one is here (our own writes come first)."""
        key, version = _key(thing), int(thing["metadata"]["resourceVersion"])
        if version >= self._versions.get(key, 0):
            self._versions[key] = version
            old, new = self.items.get(key), self._keep(thing)
            self.items[key] = new
            if old != new:
                self._changed(old, new)
        return key

    def discard(self, key: Key, version: int | None = None) -> None:
        """Forget an object, unless a newer one of that name is here."""
        if version is not None and version < self._versions.get(key, 0):
            return
        self._versions.pop(key, None)
        old = self.items.pop(key, None)
        if old is not None:
            self._changed(old, None)


def _key(thing: Json) -> Key:
    metadata = thing["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
