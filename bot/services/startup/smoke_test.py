"""A smoke test: a model that has just started must answer a question before people hear that it is ready."""

import asyncio
from contextlib import aclosing
from datetime import datetime

from cachetools import LRUCache

from bot.core.chat.errors import UserError
from bot.core.chat.message import Turn
from bot.core.deployment.workload import Phase, Workload
from bot.core.ports import Inference, Sampling, WorkloadAccess

HELLO = [Turn("user", "Say hello.")]
"""Short: a GPTQ model whose fp16 arithmetic overflows answers nothing but `!` to that (vLLM #10656)."""
SHORT = Sampling(temperature=0.0, max_tokens=8)
SECONDS = 60.0
"""How long the answer may take."""
MODELS_KEPT = 1000
"""Models whose last answer is remembered."""
NO_FAILURE = {"ask.no_chat_template", "ask.key_unknown"}
"""Errors of a base model, which completes texts and cannot chat, and of one that an older version of the bot
started."""


class SmokeTest:
    """Asks a model once for each start; after a restart of the bot not again, if its card says that it is
    ready."""

    def __init__(self, cluster: WorkloadAccess, inference: Inference) -> None:
        self._cluster, self._inference = cluster, inference
        self._found: LRUCache[str, tuple[datetime, str]] = LRUCache(MODELS_KEPT)

    async def passed(self, workload: Workload) -> bool:
        """Ask a model that is ready, unless it has been asked. False: it must be asked again, because it has
        not answered."""
        asked, _ = self._found.get(workload.name, (None, ""))
        if workload.phase is not Phase.READY or asked == workload.record.start_requested_at:
            return True
        if workload.record.announced_news.startswith(workload.start_news):
            return True
        try:
            async with asyncio.timeout(SECONDS):
                answer = await self._reply(workload)
        except (UserError, TimeoutError):
            return False  # its server cannot be reached yet
        self._found[workload.name] = workload.record.start_requested_at, answer
        return True

    def nonsense(self, workload: Workload) -> str:
        """What it answered after this start, if that is nonsense; else empty."""
        asked, answer = self._found.get(workload.name, (None, ""))
        return answer if asked == workload.record.start_requested_at and set(answer) == {"!"} else ""

    async def _reply(self, workload: Workload) -> str:
        words = []
        try:
            endpoint = await self._cluster.endpoint(workload.name)
            async with aclosing(self._inference.answer(endpoint, HELLO, SHORT)) as pieces:
                async for piece in pieces:
                    words.append(piece.text)
        except UserError as error:
            if error.text.key not in NO_FAILURE:
                raise
        return "".join(words).strip()
