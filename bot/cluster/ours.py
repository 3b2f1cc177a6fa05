"""Objects that the bot made: they are changed and removed only while they carry its labels.

Whose an object is, is part of the request that changes it, a JSON patch that tests the labels first: nothing
can happen in between, and nothing, above all no Secret, has to be read."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from bot.cluster.client import JSON_PATCH, MANAGER, Api, ApiError, Json
from bot.core.chat.errors import Changed, NameTaken, UserError
from bot.core.chat.text import t

DRY_RUN = {"dryRun": "All"}
"""Query of a request that the API server checks and does not carry out."""
NO_DRY_RUN = 400
"""The status with which it refuses that where a webhook does not support it."""
TRIES, PAUSE_SECONDS = 20, 0.1
"""How often an object is asked for again before it is removed, if its controllers change it, and how long to
wait in between."""


Answer = TypeVar("Answer")


class NotOurs(UserError):
    """There is an object of this name that the bot did not make."""


async def check(api: Api, path: str, body: Json) -> None:
    """NotOurs if there is an object of that name that is not ours; other refusals of a creation are raised as
    they are. Nothing is made or changed."""
    try:
        await api.request("POST", path, body, MANAGER | DRY_RUN)
    except NameTaken:
        await unless_gone(_patch(api, path, body, [], DRY_RUN))
    except ApiError as error:
        if error.status != NO_DRY_RUN:
            raise


async def make(api: Api, path: str, body: Json) -> Json:
    """Create it, or replace the content of the one that is there."""
    return await _create_or(api, path, body, lambda: _patch(api, path, body, _content(body)))


async def change(api: Api, path: str, body: Json) -> Json:
    """Replace the content of one that is there; else create it. It is the cheaper way round for what is there
    most often."""
    try:
        return await _patch(api, path, body, _content(body))
    except ApiError as error:
        if error.status != 404:
            raise
    return await make(api, path, body)


async def make_belonging(api: Api, path: str, body: Json) -> Json:
    """Create what belongs to a Deployment, its owner. One that belongs to it stays as it is; one that is left
    of another Deployment of that name, which is gone, becomes this one."""
    owners = body["metadata"]["ownerReferences"]
    is_its = _test("/metadata/ownerReferences/0/uid", owners[0]["uid"])

    async def keep_or_adopt() -> Json:
        try:
            return await _patch(api, path, body, [is_its])
        except NotOurs:
            adopted = {"op": "add", "path": "/metadata/ownerReferences", "value": owners}
            return await _patch(api, path, body, [adopted, *_content(body)])

    return await _create_or(api, path, body, keep_or_adopt)


async def remove(api: Api, path: str, name: str, labels: Mapping[str, str]) -> None:
    """Delete it if it carries these labels; one that does not, or is not there, is left alone."""
    named: Json = {"kind": "", "metadata": {"name": name, "namespace": "", "labels": labels}}
    for left in reversed(range(TRIES)):
        try:
            found = await unless_gone(_patch(api, path, named, []))
            if found is not None:
                held = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
                await unless_gone(api.request("DELETE", f"{path}/{name}", {"preconditions": held}))
            return
        except NotOurs:
            return
        except Changed:
            if not left:
                raise
            await asyncio.sleep(PAUSE_SECONDS)


async def _create_or(api: Api, path: str, body: Json, otherwise: Callable[[], Awaitable[Json]]) -> Json:
    """Create it; if there is one of that name, do something else. Either may be done twice."""
    try:
        made: Json = await api.request("POST", path, body, MANAGER, repeatable=True)
        return made
    except NameTaken:
        found = await unless_gone(otherwise())
    if found is None:
        found = await api.request("POST", path, body, MANAGER, repeatable=True)
    return found


async def unless_gone(request: Awaitable[Answer]) -> Answer | None:
    """The answer; None if there is no such object any more."""
    try:
        return await request
    except ApiError as error:
        if error.status != 404:
            raise
        return None


async def _patch(
    api: Api, path: str, body: Json, changes: list[Json], query: Mapping[str, str] | None = None
) -> Json:
    """Change the object that is called like `body` if it has the labels of `body`; NotOurs if it has not, or
    if a test among the changes does not hold."""
    metadata, labels = body["metadata"], body["metadata"]["labels"]
    tests = [_test(f"/metadata/labels/{pointer(name)}", value) for name, value in labels.items()]
    where, asked = f"{path}/{metadata['name']}", {**MANAGER, **(query or {})}
    try:
        found: Json = await api.request(
            "PATCH", where, [*tests, *changes], asked, JSON_PATCH, repeatable=True
        )
        return found
    except ApiError as error:
        if error.status != 422:
            raise
        refused = error
    if any(change["op"] != "test" for change in changes):  # or does it refuse the changes?
        only_tests = [change for change in changes if change["op"] == "test"]
        await _patch(api, path, body, only_tests, query)
        raise refused
    names = {"kind": body["kind"], "object": metadata["name"], "namespace": metadata["namespace"]}
    raise NotOurs(t("error.not_ours", **names)) from None


def _test(path: str, value: str) -> Json:
    return {"op": "test", "path": path, "value": value}


def _content(body: Json) -> list[Json]:
    """Changes that give an object the content and the annotations of `body`; other keys of it stay."""
    if body["kind"] == "Secret":  # nothing of what it held
        held = {"data": {}, "stringData": body["stringData"]}
        return [{"op": "add", "path": f"/{part}", "value": value} for part, value in held.items()]
    part = "data" if body["kind"] == "ConfigMap" else "spec"
    written = {f"/{part}": body[part], "/metadata/annotations": body["metadata"].get("annotations", {})}
    return [
        {"op": "add", "path": f"{where}/{pointer(key)}", "value": value}
        for where, values in written.items()
        for key, value in values.items()
    ]


def pointer(key: str) -> str:
    """A key as part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")
