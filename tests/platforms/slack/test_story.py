"""What people do in Slack, over the real SDK and its sockets."""

from tests.fakes.slack import BOT, labels, words
from tests.platforms.slack.conftest import soon


async def deployed(workspace, pass_time, line: str = "deploy tinyllama", user: str = "UADA") -> dict:
    """A model that is ready, and its card."""
    before = len(workspace.posted("C1"))
    await workspace.command(user, line)
    await soon(lambda: len(workspace.posted("C1")) > before)
    await pass_time(200)
    card = workspace.posted("C1")[-1]
    await soon(lambda: "is ready" in words(card))
    return card


async def test_a_form_deploys_and_its_card_is_kept(bot, workspace, pass_time):
    await workspace.command("UADA", "deploy")
    await soon(lambda: workspace.views)
    [view] = workspace.views.values()
    assert view["title"]["text"] == "Deploy a model"
    await workspace.fill("UADA", view, model="llama-3-8b", tp="1")
    await soon(lambda: "does not fit on one V100" in words(workspace.views[view["id"]]))
    view = workspace.views[view["id"]]
    assert (await workspace.submit("UADA", view))["open"]  # refused, and nothing that was filled in is lost
    await workspace.fill("UADA", view, tp="2")
    await soon(lambda: "15.0 GiB of weights" in words(workspace.views[view["id"]]))
    assert await workspace.submit("UADA", workspace.views[view["id"]]) is None

    await soon(lambda: workspace.posted("C1"))
    [card] = workspace.posted("C1")
    await soon(lambda: card["history"])
    assert "llama-3-8b · fp16 · 2 × V100 (tp 2) · 8k context" in card["history"][0][1]
    await pass_time(300)
    await soon(lambda: "llama-3-8b is ready" in words(card))
    assert labels(card) == ["Ask", "Open WebUI", "Logs", "Keep 4 h", "Sleep", "Stop"]
    assert len(workspace.posted("C1")) == 1


async def test_a_question_in_a_channel_is_answered_in_its_thread_and_the_thread_goes_on(
    bot, workspace, pass_time
):
    await deployed(workspace, pass_time)
    asked = await workspace.say("UEVE", f"<@{BOT}> what is PagedAttention?")
    await soon(lambda: workspace.posted("C1", asked))
    [answer] = workspace.posted("C1", asked)
    await soon(lambda: "tokens/s" in words(answer))
    assert "You asked: “what is PagedAttention?”" in words(answer)
    assert not answer["streaming"] and labels(answer) == []
    await workspace.say("UEVE", "and why?", thread=asked)
    await soon(lambda: len(workspace.posted("C1", asked)) == 3)
    await soon(lambda: "tokens/s" in words(workspace.posted("C1", asked)[-1]))
    assert "and why?" in words(workspace.posted("C1", asked)[-1])
