"""A gate before the API server: at a write of one's choice it lets the answer get lost, or the asker die."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

Json = dict[str, Any]
Happens = Callable[[], Awaitable[None] | None]
"""What happens at a write."""
COPIED = ("Content-Type", "Authorization", "Accept")


class Gate:
    """Forwards every request. `begin` counts writes anew; dry runs are none."""

    def __init__(self, kubeconfig: Path) -> None:
        read = yaml.safe_load(kubeconfig.read_text())
        self._api = read["clusters"][0]["cluster"]["server"]
        self._read = read
        self.writes: list[str] = []
        """The writes since it began to count: method and path."""
        self._at = 0
        self._before: Happens | None = None
        self._after: Happens | None = None
        self._cut = self._shut = False
        self._only = ""
        self._sees = asyncio.Event()
        self._sees.set()

    async def __aenter__(self) -> "Gate":
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, limit=0))
        app = web.Application(client_max_size=2**22)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def kubeconfig(self, folder: Path) -> str:
        """A way to the API server through this gate."""
        self._read["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self._runner.addresses[0][1]}"}
        file = folder / "through-the-gate"
        file.write_text(json.dumps(self._read))
        return str(file)

    def begin(
        self,
        at: int = 0,
        before: Happens | None = None,
        after: Happens | None = None,
        *,
        cut: bool = False,
        only: str = "",
    ) -> None:
        """Count from now on; at the write of that number `before` happens and, once it is done, `after`.
        With `cut` nobody hears what came of it; without an `after` it is not even done. Writes with another
        method than the `only` one do not count."""
        self.writes.clear()
        self._only = only
        self._at, self._before, self._after, self._cut = at, before, after, cut

    def shut(self) -> None:
        """Until it is opened, every request is cut off."""
        self._shut = True

    def open(self) -> None:
        """Let requests through again."""
        self._shut = False

    def blind(self) -> None:
        """Hold back what watches tell, until it may `see` again."""
        self._sees.clear()

    def see(self) -> None:
        """Let watches tell what they have to."""
        self._sees.set()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self._shut:
            return _hang_up(request)
        chosen = False
        method = request.method
        if method != "GET" and "dryRun" not in request.query and self._only in ("", method):
            self.writes.append(f"{method} {request.path}")
            chosen = len(self.writes) == self._at
        if chosen:
            await _happen(self._before)
        if chosen and self._cut and self._after is None:
            return _hang_up(request)
        answer = await self._forward(request)
        if chosen:
            await _happen(self._after)
        return _hang_up(request) if chosen and self._cut else answer

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in COPIED if name in request.headers}
        url, body = f"{self._api}{request.path_qs}", await request.read()
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            if "watch" not in request.query:
                kind = answer.headers.get("Content-Type", "application/json")
                return web.Response(
                    body=await answer.read(), status=answer.status, headers={"Content-Type": kind}
                )
            stream = web.StreamResponse(status=answer.status)
            await stream.prepare(request)
            async for piece in answer.content.iter_any():
                await self._sees.wait()
                await stream.write(piece)
            return stream


async def _happen(what: Happens | None) -> None:
    if what is not None and (waited := what()) is not None:
        await waited


def _hang_up(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def killed(work: Awaitable[object], gate: Gate, at: int, *, done: bool) -> bool:
    """Do something and kill who does it at its n-th write, before or after that is `done`; False if it has
    no such write."""
    task: asyncio.Future[object] = asyncio.ensure_future(work)
    died = asyncio.Event()

    def die() -> None:
        died.set()
        task.cancel()

    gate.begin(at, None if done else die, die if done else None, cut=True)
    await asyncio.wait({task})
    gate.begin()
    if not died.is_set():
        await task
    return died.is_set()
