"""A Mattermost server on this machine: REST and websocket, and people who write, click and fill in.

It refuses what Mattermost refuses and misbehaves on demand (`faults`, by method and path)."""

import asyncio
import itertools
import json
import ssl
import time
from collections import defaultdict
from typing import Any

from aiohttp import ClientSession, WSMsgType, web

from tests.fakes.sockets import BreakableSocket

Json = dict[str, Any]
TOKEN, BOT = "mattermost-token", "bot00000000000000000000000"
COMMAND_TOKEN = "command-token"
LONGEST = 16_383


class Refusal(Exception):
    """A status and Mattermost's id of the error."""

    def __init__(self, status: int, error: str) -> None:
        self.status, self.error = status, error


class FakeMattermost:
    """`faults["POST /posts"]` is what happens to the next calls: a status, `(429, seconds)`, `lose`
    (done, but the answer is lost) or a float, seconds late."""

    def __init__(self) -> None:
        self.users: dict[str, Json] = {BOT: self._user(BOT, "llm", is_bot=True)}
        self.channels: dict[str, Json] = {}
        self.posts: dict[str, Json] = {}
        self.files: list[Json] = []
        self.typing: list[Json] = []
        self.whispers: list[tuple[str, Json]] = []
        self.dialogs: list[Json] = []
        self.commands: dict[str, Json] = {}
        self.bot_url = ""
        self._hooks: dict[str, list[Any]] = {}
        self._triggers: dict[str, str] = {}
        self.faults: dict[str, list[Any]] = defaultdict(list)
        self.edit_limit = float("inf")
        self.sockets: list[BreakableSocket] = []
        self.connects = self.hellos = 0
        self.deaf = False
        """The connections stay open, and nobody is there."""
        self._connection, self._sequence = "", 0
        self._sent: list[Json] = []
        self._pushing: list[asyncio.Future[None]] = []
        self._pending: dict[str, str] = {}
        self._numbers = itertools.count(1)

    async def start(self, tls: ssl.SSLContext | None = None, host: str = "localhost") -> str:
        """The address for MATTERMOST_URL; the host is this machine, as the bot calls it."""
        app = web.Application()
        app.router.add_get("/api/v4/websocket", self._socket)
        app.router.add_post("/hooks/commands/{hook}", self._hook)
        app.router.add_route("*", "/api/v4/{path:.*}", self._api)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        listen = "127.0.0.1" if host == "localhost" else "0.0.0.0"
        await web.TCPSite(self._runner, listen, 0, ssl_context=tls).start()
        return f"{'https' if tls else 'http'}://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close everything."""
        await self._runner.cleanup()

    # --- people ---

    def _user(self, user: str, name: str, **more: Any) -> Json:
        return {"id": user, "username": name, "roles": "system_user", "locale": "en", "delete_at": 0, **more}

    def person(self, name: str, **more: Any) -> str:
        """Somebody, and the direct conversation with the bot."""
        user = name.ljust(26, "0")
        self.users[user] = self._user(user, name, **more)
        self.channel(f"d{user}"[:26], kind="D", members=[user])
        return user

    def channel(self, channel: str, kind: str = "O", members: Any = (), bot: bool = True) -> None:
        """A conversation; `bot` says whether the bot is in it."""
        people = [*members, *([BOT] if bot else [])]
        self.channels[channel] = {"id": channel, "type": kind, "members": people, "last_post_at": 0}

    def say(self, user: str, text: str, channel: str = "c1", thread: str = "", **more: Any) -> str:
        """Write a post; its id. Nothing awaits whether anybody hears."""
        return str(self._create(user, channel, thread, text, **more)["id"])

    def posted(self, channel: str = "c1", thread: str = "") -> list[Json]:
        """What the bot wrote in a channel, or in a thread."""
        return [
            post
            for post in self.posts.values()
            if (post["user_id"], post["channel_id"], post["root_id"]) == (BOT, channel, thread)
        ]

    def _create(self, user: str, channel: str, root: str, text: str, **more: Any) -> Json:
        now = int(time.time() * 1000)
        name = f"p{next(self._numbers):025d}"
        post: Json = {"id": name, "user_id": user, "channel_id": channel, "root_id": root, "message": text}
        post |= {"create_at": now, "delete_at": 0, "props": {}, "type": "", "history": [], **more}
        self.posts[name] = post
        self.channels[channel]["last_post_at"] = now
        if BOT in self.channels[channel]["members"]:
            told = {key: value for key, value in post.items() if key != "history"}
            data = {"channel_type": self.channels[channel]["type"], "post": json.dumps(told)}
            data |= {"channel_name": channel, "sender_name": f"@{self.users[user]['username']}"}
            self._tell({"event": "posted", "data": data})
        return post

    # --- what people do to the bot over HTTP ---

    def _trigger(self, user: str) -> str:
        trigger = f"trigger{next(self._numbers)}"
        self._triggers[trigger] = user
        return trigger

    async def command(self, user: str, text: str, channel: str = "c1", **more: Any) -> tuple[int, Json]:
        """`/llm text`; the status and the answer, which the person sees. `token` and others can be forged."""
        hook = f"hook{next(self._numbers)}"
        self._hooks[hook] = [user, 5]
        token = more.pop("token", COMMAND_TOKEN)
        form = {"token": token, "team_id": "t1", "team_domain": "t", "channel_id": channel, "user_id": user}
        form |= {"channel_name": "c", "user_name": user, "command": "/llm", "text": text, "root_id": ""}
        form |= {"trigger_id": self._trigger(user), "response_url": f"https://outside/hooks/commands/{hook}"}
        headers = {"Authorization": f"Token {more.pop('header', token)}"}
        status, answer = await self.call("command", data=form | more, headers=headers)
        if status == 200:
            self._whisper(user, answer)
        return status, answer

    def _whisper(self, user: str, answer: Json) -> None:
        assert answer["response_type"] == "ephemeral" and answer["skip_slack_parsing"] is True
        self._check_attachments(answer)
        self.whispers.append((user, answer))

    async def click(self, user: str, post: Json, label: str, **more: Any) -> tuple[int, Json]:
        """A button of a post, or of a whisper; `more` takes the place of what Mattermost sends."""
        shown = post.get("props", post)
        actions = [a for attachment in shown.get("attachments", []) for a in attachment["actions"]]
        integration = next(a["integration"] for a in actions if a["name"] == label)
        body = {"user_id": user, "post_id": post.get("id", "ephemeral"), "team_id": "t1", "type": "button"}
        body |= {"channel_id": post.get("channel_id", "c1"), "trigger_id": self._trigger(user)}
        body |= {"context": json.loads(json.dumps(integration["context"])), **more}
        status, answer = await self.call("action", json=body)
        if answer.get("ephemeral_text"):
            self.whispers.append((user, {"text": answer["ephemeral_text"]}))
        return status, answer

    async def submit(self, user: str, dialog: Json, **filled: Any) -> tuple[int, Json]:
        """Send a dialog; `state` can be forged."""
        given = {e["name"]: e.get("default") or None for e in dialog["elements"]}
        state = filled.pop("state", dialog["state"])
        body = {"type": "dialog_submission", "callback_id": dialog["callback_id"], "state": state}
        body |= {"user_id": user, "channel_id": "c1", "team_id": "t1", "cancelled": False}
        return await self.call("dialog", json=body | {"submission": given | filled})

    async def call(self, what: str, **request: Any) -> tuple[int, Json]:
        """As the server calls an integration."""
        async with (
            ClientSession() as session,
            session.post(f"{self.bot_url}/mattermost/{what}", **request) as answer,
        ):
            return answer.status, json.loads(await answer.text() or "{}")

    async def _hook(self, request: web.Request) -> web.Response:
        hook = self._hooks.get(request.match_info["hook"], ["", 0])
        if not hook[1]:
            return web.Response(status=400)
        hook[1] -= 1
        self._whisper(hook[0], await request.json())
        return web.Response(text="ok")

    # --- websocket ---

    def _tell(self, event: Json) -> None:
        if not self._connection:
            return
        event["seq"], self._sequence = self._sequence, self._sequence + 1
        self._sent = [*self._sent[-127:], event]
        for socket in self.sockets:
            self._pushing.append(asyncio.ensure_future(self._push(socket, event)))

    async def _push(self, socket: web.WebSocketResponse, event: Json) -> None:
        if not socket.closed:
            await socket.send_json(event)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = BreakableSocket(request, autoping=False)
        await socket.prepare(request)
        self.connects += 1
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" and not await self._challenged(socket):
            return socket
        wanted = request.query.get("connection_id")
        if wanted and wanted == self._connection:
            missing = [e for e in self._sent if e["seq"] >= int(request.query["sequence_number"])]
        else:
            self._connection, self._sequence = f"connection{next(self._numbers)}", 1
            hello = {"event": "hello", "seq": 0, "data": {"connection_id": self._connection}}
            missing, self._sent = [hello], []
            self.hellos += 1
        for event in missing:
            await socket.send_json(event)
        self.sockets.append(socket)
        async for frame in socket:
            if frame.type == WSMsgType.PING and not self.deaf:
                await socket.pong(frame.data)
        if socket in self.sockets:
            self.sockets.remove(socket)
        return socket

    async def _challenged(self, socket: web.WebSocketResponse) -> bool:
        """The other way to say who one is: by the first message."""
        said = await socket.receive()
        told = json.loads(said.data) if said.type is WSMsgType.TEXT else {}
        return bool(told.get("data", {}).get("token") == TOKEN)

    async def drop(self, how: str) -> None:
        """`abort` breaks the connection, `close` ends it; `restart` forgets it as well."""
        sockets, self.sockets = self.sockets, []
        if how == "restart":
            self._connection = ""
        for socket in sockets:
            if how == "close":
                await socket.close(code=1001)
            else:
                socket.abort()

    # --- REST ---

    async def _api(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["path"]
        where = f"{request.method} {path.split('/', 2)[0]}/{path.split('/')[1]}"
        fault = self.faults[where].pop(0) if self.faults[where] else None
        if isinstance(fault, tuple):
            return web.Response(status=429, text="limit exceeded", headers={"Retry-After": str(fault[1])})
        if isinstance(fault, int):
            return web.Response(status=fault, text="<html>upstream trouble</html>")
        if isinstance(fault, float):
            await asyncio.sleep(fault)
        try:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refusal(401, "api.context.session_expired.app_error")
            status, answer = 200, await self._do(request.method, path, request)
        except Refusal as error:
            status, answer = error.status, {"id": error.error, "message": "refused"}
        if fault == "lose":
            assert request.transport
            request.transport.abort()
        # literally this type: Mattermost's own drivers compare it
        return web.Response(
            status=status, body=json.dumps(answer), headers={"Content-Type": "application/json"}
        )

    async def _do(self, method: str, path: str, request: web.Request) -> Any:
        match [method, *path.strip("/").split("/")]:
            case ["GET", "users", user]:
                return self._known(self.users, BOT if user == "me" else user)
            case ["GET", "users", _, "teams"]:
                return [{"id": "t1", "name": "informatik"}]
            case ["GET", "users", _, "teams", _, "channels"]:
                return [c for c in self.channels.values() if BOT in c["members"]]
            case ["POST", "users", _, "typing"]:
                self.typing.append(await request.json())
                return {}
            case ["GET", "channels", channel]:
                return self._known(self.channels, channel)
            case ["GET", "channels", channel, "members", user]:
                if user not in self._known(self.channels, channel)["members"]:
                    raise Refusal(404, "store.sql_channel.get_member.missing.app_error")
                return {"user_id": user}
            case ["GET", "channels", channel, "posts"]:
                here = [post for post in self.posts.values() if post["channel_id"] == channel]
                since = int(request.query.get("since", 0))
                found = [post for post in here if post["create_at"] >= since]
                page = found if since else found[-int(request.query.get("per_page", 60)) :]
                return {"posts": {post["id"]: post for post in page}}
            case ["POST", "channels", "direct"]:
                _, user = await request.json()
                return {"id": f"d{user}"[:26]}
            case ["GET", "posts", post, "thread"]:
                found = [p for p in self.posts.values() if post in (p["id"], p["root_id"])]
                return {"posts": {post["id"]: post for post in found}}
            case ["POST", "posts"]:
                return self._new_post(await request.json())
            case ["PUT", "posts", post, "patch"]:
                return self._patch(self._known(self.posts, post), await request.json())
            case ["POST", "actions", "dialogs", "open"]:
                self._open(await request.json())
                return {"status": "OK"}
            case ["GET", "commands"]:
                return [c for c in self.commands.values() if c["team_id"] == request.query["team_id"]]
            case ["POST", "commands"]:
                return self._command(f"command{next(self._numbers)}", await request.json())
            case ["PUT", "commands", command]:
                return self._command(self._known(self.commands, command)["id"], await request.json())
            case ["POST", "files"]:
                form = await request.post()
                file = form["files"]
                assert isinstance(file, web.FileField)
                content = file.file.read().decode(errors="replace")
                self.files.append({"channel": form["channel_id"], "content": content})
                return {"file_infos": [{"id": f"f{len(self.files)}"}]}
        raise Refusal(404, "api.context.404.app_error")

    def _open(self, given: Json) -> None:
        if given["trigger_id"] not in self._triggers:
            raise Refusal(400, "interactive_message.decode_trigger_id.expired")
        dialog = given["dialog"]
        assert given["url"].startswith("http") and 0 < len(dialog["title"]) <= 24
        for element in dialog["elements"]:
            assert element["type"] in ("text", "textarea", "select") and len(element["display_name"]) <= 24
        self.dialogs.append(dialog)

    def _command(self, command: str, given: Json) -> Json:
        if self.faults["may not"]:
            raise Refusal(403, "api.context.permissions.app_error")
        token = self.commands.get(command, {}).get("token", f"token-of-{command}")
        self.commands[command] = {**given, "id": command, "token": token}
        return self.commands[command]

    def _check_attachments(self, props: Json) -> None:
        for attachment in props.get("attachments") or []:
            for action in attachment["actions"]:
                if not action["id"].isalnum() or not action["integration"]["url"].startswith("http"):
                    raise Refusal(400, "api.post.action.invalid")

    def _known(self, of: dict[str, Json], name: str) -> Json:
        if name not in of:
            raise Refusal(404, "not_found")
        return of[name]

    def _new_post(self, given: Json) -> Json:
        pending = given.get("pending_post_id", "")
        if pending in self._pending:
            return self.posts[self._pending[pending]]
        if BOT not in self._known(self.channels, given["channel_id"])["members"]:
            raise Refusal(403, "api.context.permissions.app_error")
        root = given.get("root_id", "")
        if root and (root not in self.posts or self.posts[root]["root_id"]):
            raise Refusal(400, "api.post.create_post.root_id.app_error")
        self._check(given)
        kept = {"file_ids": given.get("file_ids", [])}
        post = self._create(
            BOT, given["channel_id"], root, given["message"], props=given.get("props", {}), **kept
        )
        self._pending |= {pending: post["id"]} if pending else {}
        return post

    def _patch(self, post: Json, given: Json) -> Json:
        if time.time() - post["create_at"] / 1000 > self.edit_limit:
            raise Refusal(400, "api.post.update_post.permissions_time_limit.app_error")
        self._check(given)
        post["history"].append(post["message"])
        post |= given
        return post

    def _check(self, given: Json) -> None:
        if not given["message"].strip() or len(given["message"]) > LONGEST:
            raise Refusal(400, "model.post.is_valid.message_length.app_error")
        self._check_attachments(given.get("props") or {})
