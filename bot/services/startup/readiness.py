"""Ready means a real answer: a model that has just started is asked something first."""

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
MODELS_KEPT = 1000
UNABLE_TO_CHAT = "ask.no_chat_template"
"""A base model: it completes texts, and says of itself that it does not chat."""


class SmokeTest:
    """Asked once for each start; not again after a restart of the bot if that was announced."""

    def __init__(self, cluster: WorkloadAccess, inference: Inference) -> None:
        self._cluster, self._inference = cluster, inference
        self._found: LRUCache[str, tuple[datetime, str | None]] = LRUCache(MODELS_KEPT)

    async def passed(self, workload: Workload) -> bool:
        """If it has answered; ask it if it is time to."""
        if workload.phase is not Phase.READY or self._answer(workload) is not None:
            return True
        if workload.record.announced_news.startswith(workload.start_news):
            return True
        try:
            async with asyncio.timeout(SECONDS):
                answer = await self._reply(workload)
        except (UserError, TimeoutError):
            return False  # its server is not there yet, after all
        self._found[workload.name] = workload.record.start_requested_at, answer
        return True

    def as_shown(self, workload: Workload) -> Workload:
        """As people are told: one that answers nonsense has failed."""
        answer = self._answer(workload)
        if workload.phase is not Phase.READY or not answer or set(answer) != {"!"}:
            return workload
        failed = {"phase": Phase.FAILED, "cause": "garbled_answers", "evidence": answer}
        return workload.model_copy(update=failed)

    def _answer(self, workload: Workload) -> str | None:
        """What this start answered, if it was asked."""
        started, answer = self._found.get(workload.name, (None, None))
        return answer if started == workload.record.start_requested_at else None

    async def _reply(self, workload: Workload) -> str:
        endpoint = await self._cluster.endpoint(workload.name)
        words = []
        try:
            async with aclosing(self._inference.answer(endpoint, HELLO, SHORT)) as pieces:
                async for piece in pieces:
                    words.append(piece.text)
        except UserError as error:
            if error.text.key != UNABLE_TO_CHAT:
                raise
        return "".join(words).strip()
