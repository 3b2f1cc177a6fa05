"""Objects of the API as the bot reads them: a value that is not what the API documents is left out.

An API server checks what it stores, but what is between it and us need not, and old objects stay. So each
value that is read is looked at once, when its object comes: all that is read later has its type, numbers
saturate, and what is left out counts as not there."""

import re
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from bot.core.frozen import MOST

Rule = Callable[[Any], Any]
"""Makes of a value what is read of it; None: it is left out."""
LONGEST_TEXT = 8192
"""Characters of a text that are read: a kubelet writes up to 4,096, a scheduler a little more."""
LARGEST_CODE = 2**31
LONGEST_PROBE = 10**6
"""Seconds, or tries, of a probe that are told apart."""
_NAME = re.compile(r"[A-Za-z0-9][\w.:-]{0,252}", re.ASCII)
_VERSION = re.compile(r"\d{1,20}", re.ASCII)


def fields(*needs: str, **rules: Rule) -> Rule:
    """An object whose fields these rules are for; the others stay. It is left out without those that it
    `needs`."""

    def rule(value: Any) -> Any:
        if not isinstance(value, dict):
            return None
        read = {name: of(value[name]) for name, of in rules.items() if name in value}
        if any(kept is not value[name] for name, kept in read.items()):
            value = {name: kept for name, kept in (value | read).items() if kept is not None}
        return None if any(name not in value for name in needs) else value

    return rule


def each(of: Rule) -> Rule:
    """A list of what a rule is for."""

    def rule(value: Any) -> Any:
        if not isinstance(value, list):
            return None
        read = [kept for item in value if (kept := of(item)) is not None]
        same = len(read) == len(value) and all(map(lambda kept, item: kept is item, read, value))
        return value if same else read

    return rule


def text(value: Any) -> str | None:
    """Words; what cannot be written as UTF-8 is replaced."""
    if not isinstance(value, str):
        return None
    return value if value.isascii() and len(value) <= LONGEST_TEXT else _writable(value[:LONGEST_TEXT])


def _writable(value: str) -> str:
    return value.encode(errors="replace").decode()


def name(value: Any) -> str | None:
    """What names an object, and so may stand in a path."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def version(value: Any) -> str | None:
    """A resourceVersion: a number, as all API servers have it."""
    return value if isinstance(value, str) and _VERSION.fullmatch(value) else None


def stamp(value: Any) -> str | None:
    """A time."""
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return str(value)


def whole(least: int, most: int) -> Rule:
    """A whole number, which saturates."""

    def rule(value: Any) -> int | None:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return (value if least <= value <= most else min(max(value, least), most)) if is_whole else None

    return rule


def flag(value: Any) -> bool | None:
    """True or false."""
    return value if isinstance(value, bool) else None


def address(value: Any) -> str | None:
    """An IP address."""
    try:
        ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return None
    return str(value)


def by_name(*kinds: type) -> Rule:
    """Values of these types, by any name."""

    def rule(value: Any) -> Any:
        if not isinstance(value, dict):
            return None
        if all(isinstance(held, kinds) for held in value.values()):
            return value
        return {key: held for key, held in value.items() if isinstance(held, kinds)}

    return rule


count, code, probe = whole(0, MOST), whole(-LARGEST_CODE, LARGEST_CODE), whole(0, LONGEST_PROBE)
texts, quantities = by_name(str), by_name(str, int, float)
conditions = each(
    fields("type", "status", type=text, status=text, reason=text, message=text, lastTransitionTime=stamp)
)
own = {"name": name, "namespace": name, "resourceVersion": version, "labels": texts, "annotations": texts}
dated = {"uid": name, "creationTimestamp": stamp, "deletionTimestamp": stamp}
container_state = fields(
    waiting=fields(reason=text, message=text),
    running=fields(startedAt=stamp),
    terminated=fields(reason=text, message=text, exitCode=code, startedAt=stamp, finishedAt=stamp),
)
container = fields(
    "name",
    name=text,
    resources=fields(requests=quantities),
    startupProbe=fields(periodSeconds=probe, failureThreshold=probe, initialDelaySeconds=probe),
)
container_status = fields(
    "name", name=text, restartCount=count, started=flag, state=container_state, lastState=container_state
)
managed = each(fields(manager=text, fieldsV1=fields(**{"f:spec": fields()})))
DEPLOYMENT = fields(
    "metadata",
    metadata=fields("name", **own, **dated, managedFields=managed),
    spec=fields(replicas=count),
    status=fields(conditions=conditions),
)
POD = fields(
    "metadata",
    "spec",
    metadata=fields("name", "uid", "creationTimestamp", **own, **dated),
    spec=fields(nodeName=name, containers=each(container)),
    status=fields(
        phase=text,
        reason=text,
        message=text,
        startTime=stamp,
        podIP=address,
        conditions=conditions,
        containerStatuses=each(container_status),
    ),
)
HOLDER = fields(
    "metadata",
    "spec",
    metadata=fields("name", "namespace", **own),
    spec=fields(nodeName=name, containers=each(fields(resources=fields(requests=quantities)))),
)
NODE = fields(
    "metadata",
    metadata=fields("name", **own),
    spec=fields(unschedulable=flag),
    status=fields(allocatable=quantities, capacity=quantities, conditions=conditions),
)
EVENT = fields(
    "metadata",
    "involvedObject",
    metadata=fields("name", **own),
    involvedObject=fields("name", name=name),
    reason=text,
    message=text,
    series=fields(lastObservedTime=stamp, count=count),
    lastTimestamp=stamp,
    eventTime=stamp,
    count=count,
)
SCALER = fields("spec", spec=fields(scaleTargetRef=fields("kind", "name", kind=text, name=name)))


def shaped(thing: Any, rule: Rule) -> Any:
    """The object as its rule reads it; ValueError if nothing is left of it."""
    if (read := rule(thing)) is None:
        raise ValueError("it lacks what every object of its kind has")
    return read
