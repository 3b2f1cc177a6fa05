"""An API server on loopback that speaks the wire: list, watch, create, patch, scale, delete, logs.

It keeps any kind of object, checks none, and runs no controller: a test writes what a kubelet or a controller
would, with `put` and `delete`. Differs from a real one, besides: every patch owns the replicas that it sets,
and the lists of a strategic one are replaced."""

import asyncio
import base64
import copy
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from aiohttp import web

Json = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""
PATH = re.compile(
    r"(?P<group>/api/v1|/apis/[^/]+/[^/]+)(/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)"
    r"(/(?P<name>[^/]+))?(/(?P<subresource>[a-z]+))?"
)


class Change(NamedTuple):
    """One write of the journal; `old` or `new` is missing when it began or ended there."""

    version: int
    collection: str
    old: Json | None
    new: Json | None


class Request(NamedTuple):
    """What was asked for; a watch has the method WATCH."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    """An object, the operations of a JSON patch, or None."""


class Refusal(Exception):
    """An answer that is no success, as a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status: Json = {"kind": "Status", "code": code, "reason": reason, "message": message}


class FakeKubernetes:
    """`requests` are those seen; `forbid` holds what RBAC does not grant: ("list", "pods") in a namespace,
    ("list", "all pods") of the whole cluster; `logs` are a pod's lines by its name, those of the run before
    by (name, "previous")."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.forbid: set[tuple[str, str]] = set()
        self.logs: dict[str | tuple[str, str], str] = {}
        self.conflicts: list[str] = []
        """Resources of which the next creation is refused, as by a webhook that says: try again."""
        self.watching: dict[str, int] = {}
        """How many watches are open, by path."""
        self._objects: dict[str, dict[Key, Json]] = {}
        self._version = 1
        self._journal: list[Change] = []
        self._forgotten = 0
        self._news = asyncio.Condition()
        self._hung_up = 0

    async def start(self) -> str:
        """Its URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    def kubeconfig(self, folder: Path) -> str:
        """The path of a kubeconfig that leads here."""
        file = folder / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": "secret"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        }
        file.write_text(json.dumps(content))
        return str(file)

    async def put(self, path: str, thing: Json) -> Json:
        """Write an object into a collection (`/api/v1/namespaces/x/pods`), as a controller would."""
        found = _parse(path)
        metadata = {"namespace": found["namespace"] or "", **thing["metadata"]}
        return await self._write(_collection(found), thing | {"metadata": metadata})

    async def delete(self, path: str) -> None:
        """Take an object away, as a controller would."""
        found = _parse(path)
        await self._remove(_collection(found), (found["namespace"] or "", found["name"]))

    def object(self, path: str) -> Json:
        """An object as it is now; KeyError where there is none."""
        found = _parse(path)
        return copy.deepcopy(self._objects[_collection(found)][found["namespace"] or "", found["name"]])

    def holds(self, path: str) -> bool:
        """There is such an object."""
        found = _parse(path)
        return (found["namespace"] or "", found["name"]) in self._objects.get(_collection(found), {})

    def names(self, path: str) -> list[str]:
        """The names of the objects in a collection of a namespace, sorted."""
        found = _parse(path)
        held = self._objects.get(_collection(found), {})
        return sorted(name for namespace, name in held if namespace == found["namespace"])

    def asked(self, method: str, end: str) -> list[Request]:
        """Requests of a method whose path ends so."""
        return [r for r in self.requests if r.method == method and r.path.endswith(end)]

    async def end_watches(self, *, forget: bool = False) -> None:
        """End every watch; `forget` the past too, so that whoever goes on from it is told that it expired."""
        async with self._news:
            self._hung_up += 1
            if forget:
                self._version += 1
                self._forgotten = self._version
            self._news.notify_all()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        found = _parse(request.path)
        text = await request.text()
        body = json.loads(text) if text else None
        watch = "watch" in request.query
        method = "WATCH" if watch else request.method
        self.requests.append(Request(method, request.path, dict(request.query), body))
        try:
            self._authorize(request.method, found, watch=watch)
            if watch:
                return await self._watch(request, found)
            if found["subresource"] == "log":
                return web.Response(text=self._log(request, found["name"]))
            return web.json_response(await self._answer(request, found, body))
        except Refusal as refused:
            return web.json_response(refused.status, status=refused.status["code"])

    def _authorize(self, method: str, found: Json, *, watch: bool) -> None:
        read = "watch" if watch else "get" if found["name"] else "list"
        verb = {"GET": read, "POST": "create", "PATCH": "patch", "DELETE": "delete"}[method]
        where = f'in the namespace "{found["namespace"]}"' if found["namespace"] else "at the cluster scope"
        if (verb, found["plural"] if found["namespace"] else f"all {found['plural']}") in self.forbid:
            who = 'User "system:serviceaccount:demo:llm-bot"'
            may_not = f'{who} cannot {verb} resource "{found["plural"]}" in API group "" {where}'
            raise Refusal(403, "Forbidden", f"{found['plural']} is forbidden: {may_not}")

    async def _answer(self, request: web.Request, found: Json, body: Any) -> Json:
        collection, key = _collection(found), (found["namespace"] or "", found["name"])
        held = self._objects.setdefault(collection, {})
        manager = request.query.get("fieldManager", "unknown")
        if request.method == "GET" and not found["name"]:
            return self._list(request, found)
        if request.method == "POST":
            return await self._create(request, found, body)
        if key not in held:
            raise Refusal(404, "NotFound", f'{found["plural"]} "{found["name"]}" not found')
        if request.method == "GET":
            return held[key]
        if request.method == "DELETE":
            _check((body or {}).get("preconditions", {}), held[key])
            await self._remove(collection, key)
            return {"kind": "Status", "status": "Success"}
        if isinstance(body, list):
            return await self._operate(request, collection, held[key], body)
        _check(body.get("metadata", {}), held[key])
        return await self._patch(collection, held[key], body, manager)

    def _list(self, request: web.Request, found: Json) -> Json:
        things = self._objects.get(_collection(found), {})
        inside = [things[key] for key in sorted(things) if _selected(things[key], found, request.query)]
        begin, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "500"))
        metadata = {"resourceVersion": str(self._version)}
        if begin + limit < len(inside):
            metadata["continue"] = str(begin + limit)
        return {"kind": "List", "metadata": metadata, "items": inside[begin : begin + limit]}

    async def _create(self, request: web.Request, found: Json, body: Json) -> Json:
        collection, manager = _collection(found), request.query.get("fieldManager", "unknown")
        key = (found["namespace"] or "", body["metadata"]["name"])
        if key in self._objects.get(collection, {}):
            raise Refusal(409, "AlreadyExists", f'{found["plural"]} "{key[1]}" already exists')
        made = body | {"metadata": body["metadata"] | {"namespace": key[0]}}
        if "dryRun" in request.query:
            return made
        if found["plural"] in self.conflicts:
            self.conflicts.remove(found["plural"])
            raise Refusal(409, "Conflict", "the object has been modified; please apply your changes again")
        return await self._write(collection, _owned(made, body, manager))

    async def _operate(
        self, request: web.Request, collection: str, before: Json, operations: list[Json]
    ) -> Json:
        """A JSON patch: all of its operations, or none."""
        thing = copy.deepcopy(before)
        for operation in operations:
            _operate(thing, operation)
        if "dryRun" in request.query or thing == before:
            return thing
        return await self._write(
            collection, _owned(thing, thing, request.query.get("fieldManager", "unknown"))
        )

    async def _patch(self, collection: str, before: Json, body: Json, manager: str) -> Json:
        return await self._write(collection, _owned(_merged(before, body), body, manager))

    async def _write(self, collection: str, thing: Json) -> Json:
        held = self._objects.setdefault(collection, {})
        metadata = thing["metadata"]
        key = (metadata["namespace"], metadata["name"])
        old = held.get(key)
        begun = {"uid": str(uuid4()), "creationTimestamp": datetime.now(UTC).isoformat(timespec="seconds")}
        kept = {name: old["metadata"][name] for name in begun} if old else begun
        async with self._news:
            self._version += 1
            stamped = kept | metadata | {"resourceVersion": str(self._version)}
            held[key] = _encoded(copy.deepcopy(thing | {"metadata": stamped}))
            self._journal.append(Change(self._version, collection, old, held[key]))
            self._news.notify_all()
        return copy.deepcopy(held[key])

    async def _remove(self, collection: str, key: Key) -> None:
        async with self._news:
            self._version += 1
            old = self._objects[collection].pop(key)
            stamped = old | {"metadata": old["metadata"] | {"resourceVersion": str(self._version)}}
            self._journal.append(Change(self._version, collection, stamped, None))
            self._news.notify_all()

    async def _watch(self, request: web.Request, found: Json) -> web.StreamResponse:
        stream = web.StreamResponse()
        stream.content_type = "application/json"
        await stream.prepare(request)
        self.watching[request.path] = self.watching.get(request.path, 0) + 1
        since, ends, seen = int(request.query["resourceVersion"]), self._hung_up, 0
        try:
            if since < self._forgotten:
                expired = Refusal(410, "Expired", "too old resource version").status
                await _send(stream, {"type": "ERROR", "object": expired})
                return stream
            while self._hung_up == ends:
                for change in self._journal[seen:]:
                    seen += 1
                    if change.version > since and (event := _event(change, found, request.query)):
                        await _send(stream, event)
                async with self._news:
                    if seen == len(self._journal) and self._hung_up == ends:
                        await self._news.wait()
            return stream
        finally:
            self.watching[request.path] -= 1

    def _log(self, request: web.Request, name: str) -> str:
        wanted = (name, "previous") if request.query.get("previous") else name
        if wanted not in self.logs:
            raise Refusal(400, "BadRequest", f'container in pod "{name}" is waiting to start')
        lines = self.logs[wanted].splitlines()[-int(request.query["tailLines"]) :]
        text = "\n".join(lines) + "\n"
        return text.encode()[: int(request.query.get("limitBytes", sys.maxsize))].decode(errors="replace")


def _parse(path: str) -> Json:
    found = PATH.fullmatch(path)
    assert found, f"not a path of the API: {path}"
    return found.groupdict()


def _collection(found: Json) -> str:
    return f"{found['group']}/{found['plural']}"


def _selected(thing: Json, found: Json, query: Any) -> bool:
    """Whether an object is in the namespace that was asked for, and has the labels and fields."""
    labels = thing["metadata"].get("labels") or {}
    wanted = [term for term in query.get("labelSelector", "").split(",") if term]
    return (
        found["namespace"] in (None, thing["metadata"]["namespace"])
        and all(labels.get(term.partition("=")[0]) == term.partition("=")[2] for term in wanted)
        and all(_has(thing, term) for term in query.get("fieldSelector", "").split(",") if term)
    )


def _has(thing: Json, term: str) -> bool:
    field, value = re.split("!=|=", term)
    held: Any = thing
    for part in field.split("."):
        held = held.get(part) if isinstance(held, dict) else None
    return bool(held != value) if "!=" in term else bool(held == value)


def _event(change: Change, found: Json, query: Any) -> Json | None:
    """The change as one who selects so sees it: what does not match any more is deleted for him."""
    if change.collection != _collection(found):
        return None
    before = change.old is not None and _selected(change.old, found, query)
    after = change.new is not None and _selected(change.new, found, query)
    if after:
        return {"type": "MODIFIED" if before else "ADDED", "object": change.new}
    if not before or change.old is None:
        return None
    gone = change.new or change.old
    metadata = gone["metadata"] | {"resourceVersion": str(change.version)}
    return {"type": "DELETED", "object": gone | {"metadata": metadata}}


def _operate(thing: Json, operation: Json) -> None:
    """One operation of a JSON patch; 422 if it cannot be done, as a real API server says it."""
    *path, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
    held: Any = thing
    impossible = Refusal(422, "Invalid", "the server rejected our request due to an error in our request")
    for part in path:
        try:
            held = held[int(part)] if isinstance(held, list) else held[part]
        except LookupError:
            raise impossible from None
    kind = operation["op"]
    if kind != "add" and last not in held:
        raise impossible
    if kind == "test" and held[last] != operation["value"]:
        raise impossible
    if kind == "remove":
        del held[last]
    elif kind != "test":
        held[last] = operation["value"]


def _merged(before: Any, patch: Any) -> Any:
    """A merge patch: None removes, lists are replaced, and so is what says `$patch: replace`."""
    if isinstance(patch, dict) and patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    if not isinstance(patch, dict) or not isinstance(before, dict):
        return patch
    merged = {**before, **{k: _merged(before.get(k), v) for k, v in patch.items()}}
    return {k: v for k, v in merged.items() if v is not None}


def _owned(thing: Json, body: Json, manager: str) -> Json:
    """With `managedFields` that name who set the replicas last, all that the bot reads of them."""
    if "replicas" not in body.get("spec", {}):
        return thing
    entry = {"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    return thing | {"metadata": thing["metadata"] | {"managedFields": [entry]}}


def _check(wanted: Json, held: Json) -> None:
    """Refuse what is meant for another version, or for an object that is gone."""
    now = held["metadata"]
    if any(wanted.get(name, now[name]) != now[name] for name in ("uid", "resourceVersion")):
        raise Refusal(409, "Conflict", "the object has been modified")


def _encoded(thing: Json) -> Json:
    """A Secret is never shown as it was written."""
    for name, value in thing.pop("stringData", {}).items():
        thing.setdefault("data", {})[name] = base64.b64encode(value.encode()).decode()
    return thing


async def _send(stream: web.StreamResponse, event: Json) -> None:
    await stream.write(json.dumps(event).encode() + b"\n")
