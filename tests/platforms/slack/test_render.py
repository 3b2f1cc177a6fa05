"""Replies and forms as Block Kit: as agreed, and within Slack's limits whatever they hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.chat.message import Place
from bot.core.chat.reply import Button, Reply, Table, Tone
from bot.core.chat.text import verbatim
from bot.platforms.slack import modal
from bot.platforms.slack.render import blocks, text
from tests.conftest import Say
from tests.fakes.slack import words
from tests.fakes.slack_blocks import check_message, check_view
from tests.platforms.replies import FORM, GOLDEN, REPLIES


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_looks_as_agreed(name: str, language: str, say: Say) -> None:
    drawn = {
        "text": text(REPLIES[name], lambda words: say(words, language)),
        "blocks": blocks(REPLIES[name], lambda words: say(words, language)),
    }
    check_message(drawn)
    assert drawn == json.loads((GOLDEN / f"{name}.{language}.json").read_text())


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_form_looks_as_agreed(language: str, say: Say) -> None:
    view = modal.view(FORM, Place("slack", "C1", "1.0"), lambda words: say(words, language))
    check_view(view)
    assert view == json.loads((GOLDEN / f"form.{language}.json").read_text())


LONG = st.text(st.sampled_from("a <>&@!\n|`*_é漢"), min_size=1, max_size=40).map(
    lambda part: verbatim(part * 120)
)
TABLES = st.builds(
    lambda cells, rows: Table((verbatim("x"),) * len(cells), (tuple(cells),) * rows),
    st.lists(LONG, min_size=1, max_size=9),
    st.integers(0, 300),
)
BUTTONS = st.builds(Button, LONG, st.text(max_size=2500), st.none() | LONG, st.none() | LONG)


@given(
    st.builds(
        Reply,
        LONG,
        st.sampled_from(Tone),
        st.lists(LONG, max_size=9).map(tuple),
        st.lists(st.tuples(LONG, LONG), max_size=2).map(tuple),
        st.none() | TABLES,
        buttons=st.lists(BUTTONS, max_size=30).map(tuple),
    )
)
def test_whatever_a_reply_holds_slack_takes_it(say: Say, reply: Reply) -> None:
    check_message({"text": text(reply, say), "blocks": blocks(reply, say)})


def test_a_long_table_says_how_much_is_left_out(say: Say) -> None:
    rows = tuple((verbatim(f"model-{number}"), verbatim("ready")) for number in range(250))
    shown = words({"blocks": blocks(Reply(table=Table((verbatim("a"), verbatim("b")), rows)), say)})
    assert "model-98 · ready" in shown and "model-99 ·" not in shown and "+ 151 …" in shown
