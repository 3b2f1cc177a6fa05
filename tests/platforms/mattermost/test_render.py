"""Replies and forms as posts, attachments and dialogs: as agreed, and within Mattermost's limits."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.chat.message import Place
from bot.core.chat.reply import Button, Reply, Table, Tone
from bot.core.chat.text import verbatim
from bot.platforms.mattermost.buttons import CLICK_SECONDS, FORM_SECONDS, Buttons, with_commands
from tests.conftest import Say
from tests.platforms.replies import FORM, GOLDEN, REPLIES

BUTTONS = Buttons("token", "http://llm-bot:8080/")
PLACE = Place("mattermost", "c1", "p1")


def without_signature(post: dict[str, Any]) -> dict[str, Any]:
    """What is signed, without what differs each time."""
    for attachment in post["props"]["attachments"]:
        for action in attachment["actions"]:
            context = action["integration"]["context"]
            values = BUTTONS.signer.read(context["purpose"], context["signed"], CLICK_SECONDS)
            assert values.pop("nonce")
            action["integration"]["context"] = values
    return post


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_looks_as_agreed(name: str, language: str, say: Say) -> None:
    post = BUTTONS.payload(REPLIES[name], lambda words: say(words, language), PLACE)
    agreed = json.loads((GOLDEN / f"{name}.{language}.mattermost.json").read_text())
    assert without_signature(post) == agreed


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_form_looks_as_agreed(language: str, say: Say) -> None:
    shown = BUTTONS.dialog(FORM, "ada", PLACE, lambda words: say(words, language))
    state = BUTTONS.signer.read("form", shown["dialog"].pop("state"), FORM_SECONDS)
    assert (state["user"], state["line"], state["names"]) == ("ada", "deploy", "model ttl")
    assert shown == json.loads((GOLDEN / f"form.{language}.mattermost.json").read_text())


def test_without_a_callback_buttons_are_commands_to_type(say: Say) -> None:
    post = Buttons("token", "").payload(REPLIES["refusal"], say, PLACE)
    assert post["props"] == {} and "fp16, 2 GPUs, 8k context `!llm deploy llama-3-8b tp=2`" in post["message"]


LONG = st.text(st.sampled_from("a <>&@!\n|`*_é漢"), min_size=1, max_size=40).map(
    lambda part: verbatim(part * 120)
)
TABLES = st.builds(
    lambda cells, rows: Table((verbatim("x"),) * len(cells), (tuple(cells),) * rows),
    st.lists(LONG, min_size=1, max_size=9),
    st.integers(0, 30),
)
PRESSED = st.builds(Button, LONG, st.text(max_size=2500), st.none() | LONG, st.none() | LONG)


@given(
    st.builds(
        Reply,
        st.none() | LONG,
        st.sampled_from(Tone),
        lines=st.lists(LONG, max_size=9).map(tuple),
        table=st.none() | TABLES,
        log=st.text(max_size=40).map(lambda part: part * 200),
        buttons=st.lists(PRESSED, max_size=9).map(tuple),
    )
)
def test_any_reply_is_within_the_limits(say: Say, reply: Reply) -> None:
    post = BUTTONS.payload(reply, say, PLACE)
    for message in (post["message"], with_commands(reply, say)):
        assert message.strip() and len(message) <= 16_383
    assert len(json.dumps(post)) < 300_000  # what the server takes at once
