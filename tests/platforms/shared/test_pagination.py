"""Long and foreign text on its way into messages."""

import re

from hypothesis import given
from hypothesis import strategies as st

from bot.platforms.shared.pagination import Pages

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
