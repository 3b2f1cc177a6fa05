"""Asks models: waits until one is ready, then passes on its answer as it comes."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import perf_counter

from bot.core.changes import news_of
from bot.core.chat.errors import UserError
from bot.core.chat.message import Place, Turn, User
from bot.core.chat.reply import Button, Reply, Tone
from bot.core.chat.text import Text, t
from bot.core.deployment.cards import card
from bot.core.deployment.start_text import cause_text
from bot.core.deployment.workload import Phase, Workload
from bot.core.ports import Clock, Cluster, Endpoint, Inference, Messenger, Piece, Sampling
from bot.services.deployments.lifecycle import Lifecycle
from bot.services.idle.activity import Activity
from bot.services.questions.model_selector import ModelSelector
from bot.services.questions.pending_questions import PendingQuestions
from bot.services.questions.question_limits import QuestionLimits
from bot.services.startup.progress import StartupProgress

WAIT_IN_QUEUE = timedelta(minutes=10)
"""How long a question waits for a model that waits for GPUs."""
WAIT_AT_MOST = timedelta(hours=1)
"""How long a question waits for a model that starts."""
ANSWER_SHARE = 4
"""One part in so many of the context is kept free for the answer."""
CHARACTERS_PER_TOKEN = 2
"""A cautious guess where the server does not count: texts in European languages have more."""


@dataclass(frozen=True, slots=True)
class Question:
    """A person's question to a model."""

    text: str
    """The question itself."""
    user: User
    """The person who asks."""
    place: Place
    """Where it was asked; the conversation of this place goes with it."""
    sampling: Sampling
    """How the model is to choose its words."""
    system: str = ""
    """The system prompt; empty: there is none."""


class Conversation:
    """Answers questions. It stores no conversations: the chat where they take place does."""

    def __init__(
        self,
        cluster: Cluster,
        inference: Inference,
        messenger: Messenger,
        model_selector: ModelSelector,
        lifecycle: Lifecycle,
        activity: Activity,
        progress: StartupProgress,
        pending_questions: PendingQuestions,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._inference = inference
        self._messenger = messenger
        self._model_selector = model_selector
        self._lifecycle = lifecycle
        self._activity = activity
        self._progress = progress
        self._pending_questions = pending_questions
        self._clock = clock
        self._limits = QuestionLimits()

    async def ask(self, workload: Workload, question: Question) -> AsyncGenerator[Reply, None]:
        """Wake the model and wait for it if need be; then its answer, each reply longer than the one before.
        UserError if the model fails, cannot be reached, or is not ready in time, or if too many questions are
        at work: of a flood of them only the first that is refused."""
        with self._limits.asking(workload.name, question.user.id) as admitted:
            if admitted:
                async with aclosing(self._ask(workload, question)) as replies:
                    async for reply in replies:
                        yield reply

    async def _ask(self, workload: Workload, question: Question) -> AsyncGenerator[Reply, None]:
        self._model_selector.remember(question.place, workload)
        while not self._open(workload.name):
            with self._pending_questions.waiting(workload.name, question.user.id):
                async with aclosing(self._until_ready(workload.name, question)) as news:
                    async for reply in news:
                        yield reply
        with self._activity.answering(workload.name):  # nothing was awaited since it was open
            endpoint = await self._cluster.endpoint(workload.name)
            turns = await self._turns(endpoint, workload, question)
            async with aclosing(self._answer(endpoint, turns, question)) as replies:
                async for reply in replies:
                    yield reply
        with suppress(UserError):  # it is gone, or the cluster is away: the answer is there all the same
            await self._activity.record_use(self._lifecycle.find(workload.name), question.user)

    def _open(self, name: str) -> bool:
        """It is ready, and not about to sleep."""
        ready = self._lifecycle.find(name).phase is Phase.READY
        return ready and not self._activity.draining(name)

    async def _answer(
        self, endpoint: Endpoint, turns: Sequence[Turn], question: Question
    ) -> AsyncGenerator[Reply, None]:
        base = Reply(question=question.text, workload=endpoint.model)
        answer, begun, piece = "", perf_counter(), Piece()
        try:
            async with aclosing(self._inference.answer(endpoint, turns, question.sampling)) as pieces:
                async for piece in pieces:
                    answer += piece.text
                    if piece.text and answer.strip():
                        yield replace(base, answer=answer)
        except UserError as error:
            if not answer.strip():
                raise
            note = t("ask.broken", why=error.text)
            yield replace(base, answer=answer, footnote=note, tone=Tone.FAILED)
            return
        if not answer.strip():  # a chat takes no message without words
            raise UserError(t("ask.wordless_cut" if piece.cut else "ask.wordless", name=endpoint.model))
        note = _footnote(endpoint.model, piece, perf_counter() - begun)
        yield replace(base, answer=answer, footnote=note)

    async def _until_ready(self, name: str, question: Question) -> AsyncGenerator[Reply, None]:
        """Replies about its start until it is ready; wakes it if need be. UserError when it fails or takes
        too long."""
        begun, shown = self._clock.now(), None
        sources = self._cluster.changes(), self._activity.drained(), self._progress.changes()
        async with news_of(name, *sources) as news:
            while not self._open(name):
                news.clear()
                workload = self._lifecycle.see(name, question.user)
                left = self._patience(workload, begun)
                if workload.phase is Phase.ASLEEP:
                    place = workload.record.card_place or question.place
                    await self._lifecycle.wake(name, question.user, place, workload.record.card_message_id)
                now = card(workload, self._clock.now(), progress=self._progress.of(workload))
                if workload.phase not in (Phase.ASLEEP, Phase.READY) and now.text != shown:
                    shown = now.text
                    yield replace(
                        Reply(now.text, now.tone, (*now.lines, t("ask.then_answer"))),
                        question=question.text,
                        workload=name,
                    )
                await self._wait(news, left)

    def _patience(self, workload: Workload, begun: datetime) -> timedelta:
        """How much longer a question may wait that has waited since `begun`; UserError when its time is over
        or the model has failed."""
        if workload.phase is Phase.FAILED:
            key = "ask.down" if workload.record.ready_at else "ask.failed"
            raise UserError(
                t(key, name=workload.name, cause=cause_text(workload)),
                buttons=(Button(t("button.logs"), f"logs {workload.name}"),),
            )
        waited = self._clock.now() - begun
        longest = WAIT_IN_QUEUE if workload.phase is Phase.QUEUED else WAIT_AT_MOST
        if waited > longest:
            raise UserError(t("ask.waited", name=workload.name, waited=waited))
        return longest - waited

    async def _wait(self, news: asyncio.Event, left: timedelta) -> None:
        """Wait until there is news, but not longer than the time that is left."""
        waiting = [
            asyncio.create_task(news.wait()),
            asyncio.create_task(self._clock.sleep(left.total_seconds() + 1)),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _turns(self, endpoint: Endpoint, workload: Workload, question: Question) -> list[Turn]:
        """The system prompt, as many of the last turns as fit into the context, and the question."""
        system = [Turn("system", question.system)] if question.system else []
        last = Turn("user", question.text)
        history = list(await self._messenger.history(question.place))
        length = workload.spec.max_model_len
        room = length - (question.sampling.max_tokens or length // ANSWER_SHARE)
        while history:
            turns = [*system, *history, last]
            characters = sum(len(turn.content) for turn in turns)
            if characters <= room // 2:  # it fits in any case: the server need not count
                return turns
            counted = await self._inference.count_tokens(endpoint, turns)
            tokens = characters / CHARACTERS_PER_TOKEN if counted is None else counted
            if tokens <= room:
                return turns
            surplus = max(2, int(len(history) * (1 - room / tokens)) // 2 * 2)
            history = history[surplus:]
        return [*system, last]


def _footnote(model: str, last: Piece, seconds: float) -> Text:
    tokens = last.tokens or 0
    key = "ask.footnote_cut" if last.cut else "ask.footnote"
    return t(key, model=model, count=tokens, rate=round(tokens / max(seconds, 0.001), 1))
