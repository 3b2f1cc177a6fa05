"""CPU and memory of an engine's container: what the settings say, laid over what the engine asks for."""

import math
import re
from collections.abc import Mapping

from kubernetes.utils.quantity import parse_quantity

from bot.cluster.client import Json
from bot.core.frozen import MOST

Resources = Mapping[str, Mapping[str, str]]
"""Quantities as Kubernetes writes them, by `requests` or `limits` and then by name, such as `cpu`."""


LARGEST = float(2**63 - 1)
"""The largest quantity of Kubernetes; larger ones saturate, as they do there."""
_QUANTITY = re.compile(
    r"[+-]?(\d{1,60}\.?\d{0,60}|\.\d{1,60})([eE][+-]?\d{1,3}|[numkMGTPE]|[KMGTPE]i)?", re.ASCII
)
"""How Kubernetes writes them; the client's own parser takes `+Inf` and `NaN`, too."""


def amount(quantity: str | float) -> float:
    """A quantity such as `500m` (0.5), `1k`, `1e3` or `2Gi` as a number of cores or bytes, from 0 to LARGEST;
    what is no quantity is 0."""
    written = str(quantity)
    if not _QUANTITY.fullmatch(written):
        return 0.0
    return min(max(float(parse_quantity(written)), 0.0), LARGEST)


def whole_amount(quantity: str | float) -> int:
    """A quantity of things that are not shared, such as GPUs: rounded up as Kubernetes does, MOST at most."""
    return math.ceil(min(amount(quantity), MOST))


def quota_is_too_small(message: str) -> bool:
    """Whether a quota allows less than what one pod asks for, so that waiting is in vain, by what the API
    server says: `exceeded quota: x, requested: cpu=2, used: cpu=0, limited: cpu=1`."""
    asked, allowed = (_quantities(message, label) for label in ("requested", "limited"))
    return any(amount(asked[name]) > amount(allowed[name]) for name in asked.keys() & allowed.keys())


def _quantities(message: str, label: str) -> dict[str, str]:
    """The list of `name=quantity` after a label."""
    found = re.search(rf"\b{label}: ([^ ]*?)(?:, |$)", message)
    return dict(re.findall(r"([\w./-]+)=(\d+[A-Za-z]*)", found[1] if found else ""))


def lay_over(resources: Json, per_gpu: Resources, gpus: int) -> None:
    """Set what is given for each GPU in the container's `resources`, for that many GPUs.

    Where a request is then larger than its limit, which Kubernetes refuses, what was given wins."""
    given = {kind: {name: _times(q, gpus) for name, q in per_gpu.get(kind, {}).items()} for kind in resources}
    for kind, quantities in given.items():
        resources[kind] |= quantities
    requests, limits = resources["requests"], resources["limits"]
    for name in requests.keys() & limits.keys():
        if amount(requests[name]) > amount(limits[name]):
            lower, higher = (requests, limits) if name in given["limits"] else (limits, requests)
            lower[name] = higher[name]


def _times(quantity: str, factor: int) -> str:
    number, unit = _split(quantity)
    return f"{number * factor}{unit}"


def _split(quantity: str) -> tuple[int, str]:
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", quantity).groups()  # type: ignore[union-attr]
    return int(number), unit
