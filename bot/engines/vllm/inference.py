"""The vLLM endpoints: AsyncOpenAI for answers, /tokenize for counts, /metrics for activity."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache
from typing import Any

import aiohttp
import httpx2
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    DefaultAsyncHttpxClient,
)

from bot.core.chat.errors import UserError
from bot.core.chat.message import Turn
from bot.core.chat.text import t
from bot.core.ports import Endpoint, Load, Piece, Sampling
from bot.engines.vllm.metrics import parse_load

CONNECT_SECONDS = 5.0
"""How long a server may take to accept a connection."""
SCRAPE_SECONDS = 2.0
"""How long /metrics and /tokenize may take."""
CONNECTIONS = 200
"""To all servers together, for answers."""
GATHER_EACH, GATHER_SECONDS, DRAIN_SECONDS = 0.001, 0.012, 0.003
"""The more answers flow at once, the longer each lets tokens gather before it takes what is there:
nobody sees 15 ms, and a server that need not wake us for every token has time for the next ones."""

_TOO_LONG = re.compile(r"maximum context length is (\d+) tokens", re.IGNORECASE)
_NO_TEMPLATE = re.compile(r"chat template", re.IGNORECASE)
_BUSY = {429, 503}
"""Statuses of a server, or of what stands before it, that has no room."""


class VllmInference:
    """All models through one pool of connections.

    `first_token` and `between_tokens` are limits in seconds: a prompt may wait in the server's
    queue, but once an answer flows it must not stop."""

    def __init__(self, first_token: float = 300.0, between_tokens: float = 60.0) -> None:
        self._first_token = first_token
        self._between_tokens = between_tokens
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=50)
        timeout = httpx2.Timeout(first_token, connect=CONNECT_SECONDS)
        self._http = DefaultAsyncHttpxClient(limits=limits, timeout=timeout)
        patience = aiohttp.ClientTimeout(SCRAPE_SECONDS)
        self._metrics = aiohttp.ClientSession(timeout=patience)  # a quarter of the other's cost per scrape
        self._flowing = 0
        self._client = lru_cache(maxsize=256)(self._new_client)

    async def close(self) -> None:
        """End all connections."""
        await self._http.aclose()
        await self._metrics.close()

    def _new_client(self, endpoint: Endpoint) -> AsyncOpenAI:
        return AsyncOpenAI(
            base_url=f"{endpoint.url}/v1",
            api_key=endpoint.api_key or "none",
            http_client=self._http,
            max_retries=1,
        )

    async def answer(
        self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Stream an answer: the first piece at once, then what came within a blink of the eye."""
        text, time = "", asyncio.get_running_loop().time
        due = 0.0
        self._flowing += 1
        try:
            async with aclosing(self._pieces(endpoint, turns, sampling)) as pieces:
                async for piece in pieces:
                    text += piece.text
                    last = piece.tokens is not None
                    if last or (text and time() >= due):
                        yield replace(piece, text=text)
                        text = ""
                        pause = min(GATHER_SECONDS, GATHER_EACH * (self._flowing - 1))
                        await asyncio.sleep(0 if last else pause)
                        due = time() + DRAIN_SECONDS if pause else 0.0
        except UserError:
            if text:
                yield Piece(text)
            raise
        finally:
            self._flowing -= 1

    async def _pieces(
        self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Every chunk of the stream. Its lines are read raw: the client builds a model for each
        otherwise, which costs three times the CPU; requests, retries and errors are the client's."""
        request = self._request(endpoint, turns, sampling)
        flowing = cut = False
        try:
            async with asyncio.timeout(self._first_token) as limit, request as response:
                time = asyncio.get_running_loop().time
                async for line in response.iter_lines():
                    flowing = True
                    if line.startswith("data: {"):
                        piece = _piece(json.loads(line[6:]), cut)
                        cut = piece.cut
                        limit.reschedule(None)  # a reader who takes its time is not the server's fault
                        yield piece
                    limit.reschedule(time() + self._between_tokens)
        except TimeoutError:
            raise UserError(t("ask.stalled" if flowing else "ask.no_first_token")) from None
        except APITimeoutError:
            raise UserError(t("ask.no_first_token")) from None
        except APIStatusError as error:
            raise explain(error.status_code, error.message) from None
        except (APIConnectionError, httpx2.HTTPError):
            raise UserError(t("ask.engine_died" if flowing else "ask.unreachable")) from None

    def _request(self, endpoint: Endpoint, turns: Sequence[Turn], sampling: Sampling) -> Any:
        asked: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        return self._client(endpoint).chat.completions.with_streaming_response.create(
            model=endpoint.model,
            messages=_messages(turns),
            stream=True,
            stream_options={"include_usage": True},
            **{name: value for name, value in asked.items() if value is not None},
        )

    async def count_tokens(self, endpoint: Endpoint, turns: Sequence[Turn]) -> int | None:
        """Ask the server's own tokenizer; None if it has no chat template or does not answer."""
        body = {"model": endpoint.model, "messages": _messages(turns)}
        try:
            reply = await self._http.post(f"{endpoint.url}/tokenize", json=body, timeout=SCRAPE_SECONDS)
            return int(reply.json()["count"]) if reply.status_code == 200 else None
        except (httpx2.HTTPError, ValueError, KeyError):
            return None

    async def load(self, url: str) -> Load | None:
        """Read /metrics, whichever engine's names it has: sums over its series."""
        try:
            async with self._metrics.get(f"{url}/metrics") as reply:
                return parse_load(await reply.text()) if reply.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None


def _messages(turns: Sequence[Turn]) -> Any:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def explain(status: int, message: str) -> UserError:
    """An error body of vLLM as a sentence (texts of vLLM 0.8 to 0.33)."""
    if found := _TOO_LONG.search(message):
        return UserError(t("ask.too_long", limit=int(found[1])))
    if status == 400 and _NO_TEMPLATE.search(message):
        return UserError(t("ask.no_chat_template"))
    if status in (401, 403):
        return UserError(t("ask.key_refused"))
    if status == 404:
        return UserError(t("ask.wrong_name"))
    if status in _BUSY:
        return UserError(t("ask.busy"))
    if status >= 500:
        return UserError(t("ask.server_error"))
    return UserError(t("ask.refused", why=message[:200]))


def _piece(chunk: dict[str, Any], cut: bool) -> Piece:
    """A chunk of the stream; vLLM tells of a dead engine inside a stream that began with 200."""
    if "error" in chunk:
        raise UserError(t("ask.engine_died"))
    usage = chunk.get("usage")
    choices = chunk.get("choices")
    if not choices:
        return Piece(tokens=usage["completion_tokens"] if usage else None, cut=cut)
    choice = choices[0]
    return Piece(choice["delta"].get("content") or "", cut=choice["finish_reason"] == "length")
