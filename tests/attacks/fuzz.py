"""What is made of real input to confuse whoever reads it."""

import asyncio
import random
from typing import Any
from unittest.mock import Mock

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from tests.attacks import THOROUGH

CALLS = 100_000 if THOROUGH else 5_000
"""Of a chat."""
TOGETHER = 30
"""Calls at the same time: as many as one person may have at work, else what is dropped is not tried."""
SEED = 16
ODD = [
    "", " ", "\0", "\n", "\r\n", "\t", "\x1b[2J", "\u202e", "\u2028", "\ufeff", "\ud800", "\U000e0041", "é",
    "漢字", "🤖", "İ", "ß", "ﬀ", "①", "٣", "‘", "“", "„", "—", "--", "=", "==", "'", '"', "\\", "/", "..",
    "a/..", "../..", "a/b/c", "%s", "%00", "{0}", "{name}", "{{", "}", "$(id)", "`id`", "<@U1>",
    "<!channel>", "@all", "&lt;", "[]", "None", "null", "true", "nan", "inf", "-1", "0", "1e999", "9" * 400,
    "0.9.9", "1h" * 50, "99999999d", "25:99", "mo-fr 8-20", "hours=", "tp=", "util=nan", "util=1e400",
    "max-len=9999999999k", "ttl=0s", "for=", "system=", "shape=1/2/3/4/5/6/7", "shape=" + "9" * 50,
    "http://", "hf.co/a/b", "https://huggingface.co/a/..", "x" * 3000,
]  # fmt: skip


def mutated(chance: random.Random, value: Any, depth: int = 0) -> Any:
    """The value with something in it left out, doubled, or of another kind."""
    kind = chance.randrange(7)
    if kind == 0 or depth > 5:
        return chance.choice((*ODD, None, 0, -1, 1e308, True, [], {}, ["x"], {"x": {}}, [[[[]]]] * 3))
    if isinstance(value, dict) and value:
        name = chance.choice(sorted(value))
        if kind == 1:
            return {key: inner for key, inner in value.items() if key != name}
        if kind == 2:
            return {**value, chance.choice(ODD): value[name]}
        return {**value, name: mutated(chance, value[name], depth + 1)}
    if isinstance(value, list) and value:
        return value * 3 if kind == 1 else [mutated(chance, value[0], depth + 1), *value[1:]]
    if isinstance(value, str) and kind < 4:
        at = chance.randrange(len(value) + 1)
        return value[:at] + chance.choice(ODD) + value[at + chance.randrange(3) :]
    return value


def garbled(chance: random.Random, text: str) -> bytes:
    """The text as bytes, now and then cut, or with bytes that are none of UTF-8."""
    raw = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        at = chance.randrange(len(raw) + 1)
        raw = raw[:at] + chance.randbytes(chance.randrange(4)) + raw[at + chance.randrange(9) :]
    return b"[" * 50_000 if chance.random() < 0.001 else raw


class Calls:
    """Calls as aiohttp's server hands them on; what a connection has besides is the same for all, as making
    it anew would take most of the time."""

    def __init__(self) -> None:
        self._shared = {name: Mock() for name in ("app", "transport", "protocol", "writer")}

    def request(self, path: str, body: bytes, **headers: str) -> web.Request:
        """A POST; `_` in a header's name is `-`."""
        payload = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**20)
        payload.feed_data(body)
        payload.feed_eof()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return make_mocked_request("POST", path, headers=named, payload=payload, **self._shared)
