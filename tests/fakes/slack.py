"""A Slack workspace on loopback: Web API, Socket Mode, and people who type and click.

It refuses what Slack refuses (`invalid` lists it) and misbehaves on demand (`faults`)."""

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from time import monotonic
from typing import Any

from aiohttp import WSMsgType, web

from tests.fakes.slack_blocks import check_blocks, check_message, check_view, require
from tests.fakes.sockets import BreakableSocket

Json = dict[str, Any]
BOT_TOKEN, APP_TOKEN, BOT, TEAM = "xoxb-fake", "xapp-fake", "UBOT", "THOME"
ACK_SECONDS, SOCKETS, MODAL_KEYS = 3.0, 10, ("type", "callback_id", "title", "blocks")
TIERS = {"chat.startStream": 20, "chat.stopStream": 20, "chat.appendStream": 100, "chat.update": 50}


class SlackError(Exception):
    """An answer with ok=false."""


class FakeSlack:
    """`faults[method]` is a list of what to do to the next calls: an error code, an HTTP status,
    `(429, seconds)`, a float (answered so many seconds late), `drop` (nothing is done)
    or `lose` (done, the answer lost)."""

    def __init__(self) -> None:
        self.users: dict[str, Json] = {}
        self.channels: dict[str, Json] = {}
        self.groups: dict[str, list[str]] = {}
        self.messages: dict[tuple[str, str], Json] = {}
        self.whispers: list[Json] = []
        self.views: dict[str, Json] = {}
        self.homes: dict[str, Json] = {}
        self.files: list[Json] = []
        self.responses: list[Json] = []
        self.statuses: list[Json] = []
        self.calls: list[tuple[str, float]] = []
        self.invalid: list[str] = []
        self.faults: dict[str, list[Any]] = defaultdict(list)
        self.acks: dict[str, float] = {}
        self.unacknowledged: list[str] = []
        self.stream_seconds = 300.0
        self.tiers = True
        self.redeliver_after = 0.3
        self.deaf = False
        self.sockets: list[BreakableSocket] = []
        self.refreshed = 0
        self._triggers: dict[str, float] = {}
        self._response_urls: dict[str, int] = {}
        self._tickets: set[str] = set()
        self._waiting: dict[str, tuple[web.WebSocketResponse, asyncio.Future[Json]]] = {}
        self._numbers: Iterator[int] = itertools.count(1)
        self._turn = itertools.count()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> str:
        """The address for SLACK_API_URL."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_post("/response/{id}", self._respond)
        app.router.add_post("/upload/{id}", self._uploaded)
        app.router.add_get("/link/{ticket}", self._socket)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.base = f"http://{host}:{port}"
        self.url = f"{self.base}/api/"
        return self.url

    async def stop(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()

    # --- the workspace ---

    def person(self, user: str, **more: Any) -> str:
        """A member, and the direct conversation with the bot."""
        profile = {"display_name": user[1:].lower()}
        self.users[user] = {"id": user, "team_id": TEAM, "locale": "en-US", "profile": profile, **more}
        self.channel(f"D{user[1:]}", is_im=True, members=[user])
        return user

    def channel(self, channel: str, *, member: bool = True, members: Any = (), **more: Any) -> str:
        """A channel; `member` says whether the bot is in it."""
        self.channels[channel] = {"id": channel, "is_member": member, "members": list(members), **more}
        return channel

    def posted(self, channel: str, thread: str = "") -> list[Json]:
        """What stands in a channel, or in a thread of it without its root."""
        return [m for (where, _), m in self.messages.items() if where == channel and m["thread_ts"] == thread]

    def timestamp(self) -> str:
        """The id of a message."""
        return f"1700000000.{next(self._numbers):06d}"

    # --- Web API ---

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls.append((method, monotonic()))
        fault = self.faults[method].pop(0) if self.faults[method] else None
        if fault is None and self._over_the_limit(method):
            fault = (429, 1)
        late, fault = (fault, None) if isinstance(fault, float) else (0.0, fault)
        if isinstance(fault, tuple):
            return web.json_response({"ok": False}, status=fault[0], headers={"Retry-After": str(fault[1])})
        if isinstance(fault, int):
            return web.Response(status=fault, text="upstream trouble")
        answer = {"ok": False} if fault == "drop" else await self._answer(method, request, fault)
        await asyncio.sleep(late)
        if fault in ("drop", "lose"):
            assert request.transport
            request.transport.close()
        return web.json_response(answer)

    async def _answer(self, method: str, request: web.Request, fault: str | None) -> Json:
        if fault not in (None, "lose"):
            return {"ok": False, "error": fault}
        try:
            return {"ok": True, **await self._do(method, request)}
        except SlackError as error:
            return {"ok": False, "error": str(error)}
        except ValueError as error:
            self.invalid.append(f"{method}: {error}")
            return {"ok": False, "error": "invalid_blocks"}

    def _over_the_limit(self, method: str) -> bool:
        recent = [at for name, at in self.calls[-600:] if name == method and monotonic() - at < 60]
        return self.tiers and len(recent) > TIERS.get(method, 10_000) + 10

    async def _do(self, method: str, request: web.Request) -> Json:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token != (APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN):
            raise SlackError("invalid_auth")
        given: Json = dict(request.query)
        if request.content_type == "application/json":
            given |= await request.json()
        elif request.can_read_body:
            given |= dict(await request.post())
        return getattr(self, "_" + method.replace(".", "_"))(given) or {}

    def _auth_test(self, given: Json) -> Json:
        return {"user_id": BOT, "team_id": TEAM, "bot_id": "BBOT", "url": self.base, "user": "llm"}

    def _apps_connections_open(self, given: Json) -> Json:
        ticket = f"t{next(self._numbers)}"
        self._tickets.add(ticket)
        return {"url": f"{self.base.replace('http', 'ws')}/link/{ticket}"}

    def _users_info(self, given: Json) -> Json:
        if given["user"] not in self.users:
            raise SlackError("user_not_found")
        return {"user": self.users[given["user"]]}

    def _usergroups_users_list(self, given: Json) -> Json:
        return {"users": self.groups[given["usergroup"]]}

    def _conversations_members(self, given: Json) -> Json:
        return {"members": self.channels[given["channel"]]["members"]}

    def _conversations_info(self, given: Json) -> Json:
        channel = self._channel(given)
        if channel.get("is_private") and not channel["is_member"]:
            raise SlackError("channel_not_found")
        return {"channel": channel}

    def _conversations_open(self, given: Json) -> Json:
        return {"channel": {"id": f"D{given['users'][1:]}"}}

    def _conversations_replies(self, given: Json) -> Json:
        found = [m for (c, ts), m in self.messages.items() if c == given["channel"]]
        found = [m for m in found if given["ts"] in (m["ts"], m["thread_ts"])]
        if not found:
            raise SlackError("thread_not_found")
        return {"messages": found}

    def _conversations_history(self, given: Json) -> Json:
        found = self.posted(given["channel"])
        return {"messages": found[::-1][: int(given["limit"])]}

    def _channel(self, given: Json) -> Json:
        if given["channel"] not in self.channels:
            raise SlackError("channel_not_found")
        return self.channels[given["channel"]]

    def _chat_postMessage(self, given: Json) -> Json:
        channel = self._channel(given)
        if not channel["is_member"] and not channel.get("is_im"):
            raise SlackError("not_in_channel")
        check_message(given)
        require(given.get("unfurl_links") is False, "links would unfurl")
        return {"ts": self._put(given), "channel": given["channel"]}

    def _put(self, given: Json, **more: Any) -> str:
        stamp = self.timestamp()
        message: Json = {"user": BOT, "text": "", "thread_ts": given.get("thread_ts") or "", "history": []}
        kept = {name: given[name] for name in ("text", "blocks", "metadata", "channel") if name in given}
        self.messages[given["channel"], stamp] = message | kept | {"ts": stamp} | more
        return stamp

    def _chat_postEphemeral(self, given: Json) -> Json:
        channel = self._channel(given)
        if not channel["is_member"] and not channel.get("is_im"):
            raise SlackError("user_not_in_channel")
        check_message(given)
        self.whispers.append(given)
        return {"message_ts": self.timestamp()}

    def _message(self, given: Json) -> Json:
        found = self.messages.get((given["channel"], given["ts"]))
        if found is None:
            raise SlackError("message_not_found")
        return found

    def _chat_update(self, given: Json) -> Json:
        message = self._message(given)
        if message.get("streaming"):
            raise SlackError("streaming_state_conflict")
        check_message(given)
        message["history"].append((monotonic(), message["text"]))
        message["blocks"] = []
        message |= {name: given[name] for name in ("text", "blocks", "metadata") if name in given}
        self.messages[given["channel"], given["ts"]] = message
        return {"ts": given["ts"]}

    def _chat_startStream(self, given: Json) -> Json:
        channel = self._channel(given)
        require(given.get("thread_ts"), "a stream belongs in a thread")
        if not channel.get("is_im") and not (
            given.get("recipient_user_id") and given.get("recipient_team_id")
        ):
            raise SlackError("missing_recipient_user_id")
        stamp = self._put(given, streaming=True, begun=monotonic())
        self._take_chunks(self.messages[given["channel"], stamp], given)
        return {"ts": stamp, "channel": given["channel"]}

    def _chat_appendStream(self, given: Json) -> Json:
        self._take_chunks(self._streaming(given), given)
        return {}

    def _chat_stopStream(self, given: Json) -> Json:
        message = self._streaming(given)
        self._take_chunks(message, given)
        message["streaming"] = False
        return {}

    def _streaming(self, given: Json) -> Json:
        message = self._message(given)
        if not message.get("streaming") or monotonic() - message["begun"] > self.stream_seconds:
            message["streaming"] = False
            raise SlackError("message_not_in_streaming_state")
        return message

    def _take_chunks(self, message: Json, given: Json) -> None:
        for chunk in given.get("chunks", []):
            if chunk["type"] == "markdown_text":
                require(0 < len(chunk["text"]) <= 12_000, "markdown_text")
                message["text"] += chunk["text"]
                message["streamed"] = message["text"]
            else:
                check_blocks(chunk["blocks"], 50)
                message["blocks"] = chunk["blocks"]

    def _assistant_threads_setStatus(self, given: Json) -> Json:
        self.statuses.append(given)
        return {}

    def _views_open(self, given: Json) -> Json:
        opened = self._triggers.pop(given["trigger_id"], 0.0)
        if monotonic() - opened > ACK_SECONDS:
            raise SlackError("expired_trigger_id")
        return {"view": self._show(f"V{next(self._numbers)}", given["view"])}

    def _views_update(self, given: Json) -> Json:
        view = self.views.get(given["view_id"])
        if view is None:
            raise SlackError("not_found")
        if given.get("hash", view["hash"]) != view["hash"]:
            raise SlackError("hash_conflict")
        return {"view": self._show(given["view_id"], given["view"])}

    def _show(self, view_id: str, view: Json) -> Json:
        check_view(view)
        before = self.views.get(view_id, {})
        self.views[view_id] = {**view, "id": view_id, "hash": f"h{next(self._numbers)}", "open": True}
        self.views[view_id]["state"] = before.get("state", {"values": {}})
        return self.views[view_id]

    def _views_publish(self, given: Json) -> Json:
        check_view(given["view"])
        self.homes[given["user_id"]] = given["view"]
        return {}

    def _files_getUploadURLExternal(self, given: Json) -> Json:
        name = f"F{next(self._numbers)}"
        self.files.append({"id": name, "name": given["filename"]})
        return {"upload_url": f"{self.base}/upload/{name}", "file_id": name}

    def _files_completeUploadExternal(self, given: Json) -> Json:
        for told in json.loads(given["files"]):
            file = next(file for file in self.files if file["id"] == told["id"])
            file |= {"channel": given.get("channel_id"), "thread_ts": given.get("thread_ts", "")}
        return {"files": [{"id": file["id"]} for file in self.files]}

    async def _uploaded(self, request: web.Request) -> web.Response:
        file = next(file for file in self.files if file["id"] == request.match_info["id"])
        file["content"] = (await request.read()).decode(errors="replace")
        return web.Response(text="OK")

    async def _respond(self, request: web.Request) -> web.Response:
        left = self._response_urls.get(request.match_info["id"], 0)
        if not left:
            return web.Response(status=404)
        self._response_urls[request.match_info["id"]] = left - 1
        self.responses.append(await request.json())
        return web.Response(text="ok")

    # --- Socket Mode ---

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = BreakableSocket(request, autoping=False)
        await socket.prepare(request)
        ticket = request.match_info["ticket"]
        if ticket not in self._tickets or len(self.sockets) >= SOCKETS:
            await socket.close()
            return socket
        self._tickets.discard(ticket)
        await socket.send_json({"type": "hello", "num_connections": len(self.sockets) + 1})
        self.sockets.append(socket)
        async for frame in socket:
            if frame.type == WSMsgType.PING and not self.deaf:
                await socket.pong(frame.data)
            elif frame.type == WSMsgType.TEXT and not self.deaf:
                answer = json.loads(frame.data)
                sent_on, waiting = self._waiting.pop(answer["envelope_id"], (None, None))
                if (
                    waiting and sent_on is socket and not waiting.done()
                ):  # by another connection it does not count
                    waiting.set_result(answer)
        if socket in self.sockets:
            self.sockets.remove(socket)
        return socket

    async def connected(self, count: int = 1) -> None:
        """Wait for that many sockets."""
        async with asyncio.timeout(30):
            while len(self.sockets) < count:
                await asyncio.sleep(0.01)

    async def deliver(self, kind: str, payload: Json, *, attempt: int = 0) -> Json | None:
        """One envelope to one of the sockets; its acknowledgement, or None."""
        live = [socket for socket in self.sockets if not socket.closed]
        if not live:
            return None
        socket = live[next(self._turn) % len(live)]
        name = f"e{next(self._numbers)}"
        waiting: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[name] = socket, waiting
        envelope = {
            "type": kind,
            "envelope_id": name,
            "payload": payload,
            "accepts_response_payload": kind != "events_api",
            "retry_attempt": attempt,
            "retry_reason": "timeout" if attempt else "",
        }
        begun = monotonic()
        try:
            await socket.send_json(envelope)
            answer = await asyncio.wait_for(waiting, ACK_SECONDS)
        except (TimeoutError, ConnectionError):
            return None
        self.acks[name] = monotonic() - begun
        return answer

    async def event(self, event: Json, event_id: str = "", **more: Any) -> None:
        """An event, delivered again until it is acknowledged."""
        event_id = event_id or f"Ev{next(self._numbers)}"
        body = {"type": "event_callback", "team_id": TEAM, "event_id": event_id, "event": event, **more}
        for attempt in range(4):
            if await self.deliver("events_api", body, attempt=attempt) is not None:
                return
            await asyncio.sleep(self.redeliver_after)
        self.unacknowledged.append(event_id)

    async def refresh(self) -> None:
        """Slack asks each connection in turn to be renewed."""
        for socket in list(self.sockets)[:1]:
            self.sockets.remove(socket)
            self.refreshed += 1
            await socket.send_json({"type": "disconnect", "reason": "refresh_requested"})

    async def abort(self) -> None:
        """Every connection breaks at once."""
        for socket in list(self.sockets):
            self.sockets.remove(socket)
            socket.abort()

    # --- people ---

    def trigger(self) -> str:
        """Opens one form within three seconds."""
        name = f"tr{next(self._numbers)}"
        self._triggers[name] = monotonic()
        return name

    async def command(self, user: str, text: str, channel: str = "C1", **more: Any) -> bool:
        """`/llm text`; whether it was acknowledged."""
        url = f"r{next(self._numbers)}"
        self._response_urls[url] = 5
        payload = {
            "command": "/llm",
            "text": text,
            "user_id": user,
            "team_id": TEAM,
            "channel_id": channel,
            "trigger_id": self.trigger(),
            "response_url": f"{self.base}/response/{url}",
            **more,
        }
        if await self.deliver("slash_commands", payload) is None:
            self.unacknowledged.append(text)
            return False
        return True

    async def say(self, user: str, text: str, channel: str = "C1", thread: str = "", **more: Any) -> str:
        """Write a message; Slack tells it twice when it calls the bot."""
        stamp = self.timestamp()
        message = {"user": user, "text": text, "thread_ts": thread, "ts": stamp, "history": []}
        self.messages[channel, stamp] = message
        direct = bool(self.channels[channel].get("is_im"))
        event = {"user": user, "team": TEAM, "text": text, "channel": channel, "ts": stamp, **more}
        event |= {"thread_ts": thread} if thread else {}
        kind = {"type": "message", "channel_type": "im" if direct else "channel"}
        await self.event(event | kind)
        if f"<@{BOT}>" in text and not direct:
            await self.event(event | {"type": "app_mention"})
        return stamp

    async def click(self, user: str, message: Json, label: str, channel: str = "C1") -> Json | None:
        """Press the button of that label."""
        button = next(b for b in buttons(message) if b["text"]["text"] == label)
        payload = {
            "type": "block_actions",
            "user": {"id": user, "team_id": TEAM},
            "team": {"id": TEAM},
            "trigger_id": self.trigger(),
            "actions": [{**button, "type": "button"}],
        }
        if "ts" in message:
            payload |= {
                "channel": {"id": channel},
                "message": {name: message[name] for name in ("ts", "thread_ts") if message.get(name)},
                "container": {"type": "message", "message_ts": message["ts"], "channel_id": channel},
            }
        else:
            payload |= {"container": {"type": "view"}, "view": message}
        return await self.deliver("interactive", payload)

    async def fill(self, user: str, view: Json, **values: str) -> None:
        """Choose and write in a form; each choice is told."""
        for name, value in values.items():
            name = name.replace("_", "-")
            block = next(block for block in view["blocks"] if block.get("block_id") == name)
            chosen = (
                {"selected_option": {"value": value}} if "options" in block["element"] else {"value": value}
            )
            view["state"]["values"][name] = {"value": chosen}
            if block.get("dispatch_action"):
                actions = [{"action_id": block["element"]["action_id"], "block_id": name, "type": "x"}]
                await self.deliver("interactive", self._form(user, view, "block_actions", actions=actions))

    async def submit(self, user: str, view: Json) -> Json | None:
        """Send a form; what came back in the acknowledgement."""
        answer = await self.deliver("interactive", self._form(user, view, "view_submission"))
        payload = (answer or {}).get("payload") or {}
        if payload.get("response_action") == "update":
            return self._show(view["id"], payload["view"])
        self.views[view["id"]]["open"] = False
        return None

    def _form(self, user: str, view: Json, kind: str, **more: Any) -> Json:
        person = {"id": user, "team_id": TEAM}
        common = {"type": kind, "user": person, "team": {"id": TEAM}, "trigger_id": self.trigger()}
        return {**common, "view": view, **more}


def buttons(message: Json) -> list[Json]:
    """All buttons of a message."""
    found: list[Json] = []
    for block in message.get("blocks", []):
        found += block.get("elements", []) if block["type"] == "actions" else []
        found += [block["accessory"]] if "accessory" in block else []
    return found


def labels(message: Json) -> list[str]:
    """What the buttons say."""
    return [button["text"]["text"] for button in buttons(message)]


def words(message: Json) -> str:
    """Everything that a message shows, as one text."""
    said = []
    for block in message.get("blocks", []) or [{"type": "markdown", "text": message.get("text", "")}]:
        match block["type"]:
            case "section":
                said += [block["text"]["text"]] if "text" in block else []
                said += [field["text"] for field in block.get("fields", [])]
            case "markdown":
                said.append(block["text"])
            case "context":
                said += [element["text"] for element in block["elements"]]
            case "table":
                said += [" · ".join(cell["text"] for cell in row) for row in block["rows"]]
    return "\n".join(said)
