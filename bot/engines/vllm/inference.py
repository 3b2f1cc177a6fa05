"""The vLLM endpoints: AsyncOpenAI for answers, /tokenize for counts, /metrics for activity."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
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
from pydantic_core import from_json

from bot.core.chat.errors import UserError
from bot.core.chat.message import Turn
from bot.core.chat.text import Text, t
from bot.core.ports import Endpoint, Load, Piece, Sampling
from bot.engines.vllm.answer_stream import MOST_TOKENS, AnswerStream
from bot.engines.vllm.bounded import only_what_we_take, read
from bot.engines.vllm.errors import explain
from bot.engines.vllm.metrics import parse_load

CONNECT_SECONDS = 5.0
"""How long a server may take to accept a connection."""
SCRAPE_SECONDS = 2.0
"""How long /metrics and /tokenize may take."""
ANSWER_SECONDS = 1800.0
"""How long an answer may take from the question on."""
SCRAPE_BYTES = 2**22
"""Bytes of /metrics and of /tokenize; a longer answer counts as none."""
CONNECTIONS = 1000
"""To all servers together, for answers. One model gets few of them: questions to it are limited."""
GATHER_EACH, GATHER_SECONDS, DRAIN_SECONDS = 0.001, 0.012, 0.003
"""The more answers flow at once, the longer each lets tokens gather before it takes what is there:
nobody sees 15 ms, and a server that need not wake us for every token has time for the next ones."""

AS_IT_IS = {"Accept-Encoding": "identity"}
"""Nothing that a server sends is unpacked: few bytes could become many."""


class VllmInference:
    """All models through one pool of connections.

    `first_token`, `between_tokens` and `whole` are limits in seconds: a prompt may wait in the server's
    queue, but once an answer flows it must not stop, nor go on for ever."""

    def __init__(
        self, first_token: float = 300.0, between_tokens: float = 60.0, whole: float = ANSWER_SECONDS
    ) -> None:
        self._first_token, self._between_tokens, self._whole = first_token, between_tokens, whole
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=50)
        timeout = httpx2.Timeout(first_token, connect=CONNECT_SECONDS)
        self._http = DefaultAsyncHttpxClient(
            limits=limits,
            timeout=timeout,
            follow_redirects=False,
            headers=AS_IT_IS,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            event_hooks={"response": [only_what_we_take]},
        )
        self._scrapes = aiohttp.ClientSession(  # a quarter of the other's cost per request
            timeout=aiohttp.ClientTimeout(SCRAPE_SECONDS),
            headers=AS_IT_IS,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._flowing = 0
        self._client = lru_cache(maxsize=256)(self._new_client)

    async def close(self) -> None:
        """End all connections."""
        await self._http.aclose()
        await self._scrapes.close()

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
        """Every chunk of the stream. Its events are read raw: the client builds a model for each
        otherwise, which costs three times the CPU; requests, retries and errors are the client's."""
        stream, time = AnswerStream(), asyncio.get_running_loop().time
        deadline = time() + self._whole
        try:
            async with (
                asyncio.timeout_at(min(time() + self._first_token, deadline)) as limit,
                self._request(endpoint, turns, sampling) as response,
                aclosing(stream.pieces(response.iter_bytes())) as pieces,
            ):
                async for piece in pieces:
                    limit.reschedule(None)  # a reader who takes its time is not the server's fault
                    yield piece
                    limit.reschedule(min(time() + self._between_tokens, deadline))
        except TimeoutError:
            raise UserError(self._too_late(stream.begun, time() >= deadline)) from None
        except APITimeoutError:
            raise UserError(t("ask.no_first_token")) from None
        except APIStatusError as error:
            raise explain(error.status_code, error.message) from None
        except (APIConnectionError, httpx2.HTTPError):
            raise UserError(t("ask.engine_died" if stream.begun else "ask.unreachable")) from None

    def _too_late(self, begun: bool, over: bool) -> Text:
        """Why an answer is given up: it has not `begun`, its whole time is `over`, or it went silent."""
        if over:
            return t("ask.too_slow", longest=timedelta(seconds=self._whole))
        return t("ask.stalled" if begun else "ask.no_first_token")

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
            told = from_json(await self._ask("POST", f"{endpoint.url}/tokenize", json=body) or b"")
        except ValueError:
            return None
        count = told.get("count") if isinstance(told, dict) else None
        return count if type(count) is int and 0 <= count <= MOST_TOKENS else None

    async def load(self, url: str) -> Load | None:
        """Read /metrics, whichever engine's names it has: sums over its series."""
        exposition = await self._ask("GET", f"{url}/metrics")
        return parse_load(exposition) if exposition is not None else None

    async def _ask(self, method: str, url: str, **more: Any) -> bytes | None:
        """The body of an answer; None if there is none, it is no success or a redirect, or it is too long."""
        try:
            async with self._scrapes.request(method, url, allow_redirects=False, **more) as reply:
                return await read(reply.content, SCRAPE_BYTES) if reply.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None


def _messages(turns: Sequence[Turn]) -> Any:
    return [{"role": turn.role, "content": turn.content} for turn in turns]
