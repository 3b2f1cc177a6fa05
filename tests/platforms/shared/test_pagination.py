"""Long and foreign text on its way into messages."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.shared.pagination import Pages
from bot.platforms.shared.sanitize import JOINER, SanitizedStream, harmless

LIMIT = 200
MARKS = st.text(st.sampled_from("ab `~\n-<@!#](:/h"), max_size=60)
PIECES = st.lists(MARKS | st.just("```py\n"), max_size=30)


def paged(*pieces: str, limit: int = LIMIT) -> list[str]:
    pages = Pages(limit)
    for piece in pieces:
        pages.add(piece)
    return pages.pages


@given(PIECES)
def test_nothing_is_lost_no_page_is_too_long_and_a_finished_page_never_changes(pieces: list[str]) -> None:
    pages = Pages(LIMIT)
    finished: list[str] = []
    for piece in pieces:
        pages.add(piece)
        assert pages.pages[: len(finished)] == finished
        finished = pages.pages[:-1]
    assert all(len(page) <= LIMIT for page in pages.pages)
    assert words("".join(pages.pages)) == words("".join(pieces))


def words(text: str) -> str:
    """Without the marks of code blocks, which are repeated on every page, and without their language, within
    which a page may end; no other piece has a p or y."""
    return re.sub(r"[`~\spy]", "", text)


def test_a_text_that_fits_stays_as_it_is() -> None:
    assert paged("one\n", "two") == ["one\ntwo"]


def test_it_is_cut_between_lines() -> None:
    assert paged("x" * 100 + "\n" + "y" * 100) == ["x" * 100 + "\n", "y" * 100]


def test_a_code_block_is_closed_and_opened_again() -> None:
    first, second = paged("```python\n" + "x = 1\n" * 30 + "```\nafter")
    assert first.endswith("x = 1\n```") and second.startswith("```python\nx = 1\n")
    assert second.endswith("```\nafter")


def test_a_table_gets_its_header_again() -> None:
    first, second = paged("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 18)
    assert first.startswith("| a | b |") and second.startswith("| a | b |\n|---|---|\n| 1 | 2 |")


@pytest.mark.parametrize(
    "text",
    [
        "<!channel>",
        "<!here|x>",
        "<!subteam^S1>",
        "<@U123>",
        "<#C123|x>",
        "@channel",
        "@here!",
        "@all",
        "[bank](https://evil.example)",
        "![x](//evil.example)",
        "<https://evil.example|bank>",
    ],
)
def test_what_calls_people_or_hides_an_address_is_broken_up(text: str) -> None:
    assert JOINER in harmless(text) and harmless(text).replace(JOINER, "") == text
    assert harmless(harmless(text)) == harmless(text)


@pytest.mark.parametrize(
    "text",
    ["vector<std::string>", "a < b", "xs[i](x)", "<!DOCTYPE html>", "me@example.org", "@Override", "#1"],
)
def test_code_and_addresses_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


@given(
    st.text(st.sampled_from("<@!#](:/hcehanl U1all"), max_size=80),
    st.lists(st.integers(0, 80), max_size=8),
)
def test_a_text_in_pieces_is_as_harmless_as_the_whole(text: str, cuts: list[int]) -> None:
    stream, shown, start = SanitizedStream(), "", 0
    for cut in [*sorted(cuts), len(text)]:
        piece, start = text[start:cut], max(start, cut)
        shown += stream.add(piece)
    shown += stream.add(text[start:], last=True)
    assert shown == harmless(text)
