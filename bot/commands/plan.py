"""/llm plan MODEL [tp=2] [quant=gptq] [max-len=8k] — would it fit? Nothing is started."""

from bot.core.chat.errors import UserError
from bot.grammar.command import Context, Group, Replies
from bot.grammar.fields import ModelRequest
from bot.grammar.plan_replies import judgement, unknown


class Plan(ModelRequest):
    verb = "plan"
    group = Group.RUN
    examples = ("plan llama-3-8b tp=1", "plan qwen2.5-32b quant=gptq")

    async def run(self, ctx: Context) -> Replies:
        planner = ctx.services.planner
        try:
            verdict = planner.judge(self.request())
        except UserError as error:
            raise unknown(self, planner.catalog.similar_names(self.model), error) from None
        yield judgement(verdict, self, planner.gpu)
