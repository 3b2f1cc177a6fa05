"""/llm ask [NAME] [temp=0.2] [top-p=0.9] [max-tokens=400] [system="…"] TEXT … — ask a model."""

from contextlib import aclosing
from dataclasses import replace

from pydantic import Field

from bot.core.ports import Sampling
from bot.grammar.command import Command, Context, Group, Replies, Rest
from bot.services.questions.conversation import Question


class Ask(Command):
    verb = "ask"
    group = Group.USE
    examples = (
        "ask llama-3-8b what is PagedAttention?",
        'ask temp=0.2 max-tokens=200 system="Answer in one sentence." what is a lease?',
    )

    temperature: float | None = Field(None, alias="temp", ge=0, le=2, examples=[0.2])
    top_p: float | None = Field(None, alias="top-p", gt=0, le=1, examples=[0.9])
    max_tokens: int | None = Field(None, alias="max-tokens", ge=1, le=100_000, examples=[400])
    system: str | None = Field(None, max_length=8000, examples=["…"])
    text: Rest

    async def run(self, ctx: Context) -> Replies:
        conversation = ctx.services.conversation
        workload, text = await ctx.services.model_selector.choose(self.text, ctx.user, ctx.place)
        sampling = Sampling(self.temperature, self.top_p, self.max_tokens)
        question = Question(text, ctx.user, ctx.place, sampling, self.system or "")
        line, message = self.line(text=f"{workload.name} {text}"), ""
        try:
            async with aclosing(conversation.ask(workload, question)) as replies:
                async for reply in replies:
                    sent = yield replace(reply, again="" if reply.answer else line)
                    if sent and not reply.answer:
                        message = sent
                        await ctx.services.pending_questions.add(workload.name, ctx.place, message)
        finally:
            await ctx.services.pending_questions.remove(workload.name, message)
