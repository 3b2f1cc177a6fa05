"""Text of models, logs, names and errors: it pings nobody, hides no address, loads no picture, moves no
cursor and shows no secret."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bot.core.chat.reply import Reply
from bot.core.chat.text import Text, verbatim
from bot.platforms.mattermost import render as mattermost
from bot.platforms.shared.sanitize import JOINER, SanitizedStream, harmless

PARSER = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"])
"""Reads Markdown as Mattermost's server does; a parser that the bot does not use."""
MENTION = re.compile(r"@[a-z0-9]", re.IGNORECASE)
"""Mattermost's server looks for names in every word of a text that is not code, in any case, and drops a dot,
a dash or an underscore at its end; an e-mail address becomes a link."""
AUTOLINK = re.compile(r"[a-z][\w+.-]*:/|www\.\w|\b(?:mailto|tel|slack|javascript):[^\s\u2060]", re.IGNORECASE)
CHANNEL = re.compile(r"~[a-z0-9]", re.IGNORECASE)
SLACK = re.compile(r"<(?:!|@|#|https?:|mailto:|tel:|slack:)\w")
CODE = re.compile(r"(?ms)^ *(`{3,}|~{3,})[ .]*(\S+)? *\n(.*?)\s*\1 *(?:\n|\Z)|(`+)\s*(?s:.*?[^`])\s*\4(?!`)")
"""What Mattermost's own client (a fork of marked 0.3) takes for code: a block may end within a line."""
OLD_LINK = re.compile(r"!?\[[^\]]*\]\([^)]*\)|^ *\[[^\]]+\]: *\S|<[a-z!/@#]", re.IGNORECASE | re.MULTILINE)


def _texts(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _texts(token.children or [])


def dangers(markdown: str) -> list[str]:
    """All that a chat could make of it but words and code."""
    found = []
    for token in _texts(PARSER.parse(markdown)):
        if token.type in ("link_open", "image", "html_block", "html_inline"):
            found.append(f"{token.type} {token.attrs}")
        if token.type == "text":
            marks = (MENTION, AUTOLINK, CHANNEL, SLACK)
            found += [mark[0] for pattern in marks for mark in pattern.finditer(token.content)]
        if token.type in ("code_inline", "fence", "code_block"):
            found += SLACK.findall(token.content)
    as_the_client = CODE.sub("\0", markdown)
    found += [
        mark[0] for pattern in (OLD_LINK, MENTION, AUTOLINK) for mark in pattern.finditer(as_the_client)
    ]
    return found


ATTACKS = [
    "@Channel",
    "@ALL",
    "@here_",
    "@alice",
    "(@bob.)",
    "hi @all, look",
    "@channel-",
    "中@all",
    "<!channel>",
    "<!here|x>",
    "<!subteam^S1>",
    "<@U123>",
    "<#C123|x>",
    "`<!channel>`",
    "```\n<@U123>\n```",
    "[bank]( https://evil.example)",
    "[bank](\nhttps://evil.example)",
    "[bank](&#104;ttp://evil.example)",
    "[bank][1]\n\n[1]: https://evil.example",
    "[bank]\n\n[bank]: evil.example",
    "[1]\n[1]:\nhttp://evil.example",
    "[bank](evil.example)",
    "[bank](//evil.example)",
    "[bank](<evil.example>)",
    '[a](/x "title")',
    "![x](https://evil.example/x.png)",
    "![x](//evil.example)",
    "![x][1]\n\n[1]: http://e.example/x.png",
    "[![x](http://e.example/x.png)](http://e.example)",
    "https://evil.example/x.png",
    "www.evil.example/x.png",
    "<https://evil.example|bank>",
    "<https://evil.example>",
    "slack://open?team=T1",
    "mailto:a@evil.example",
    "tel:0190",
    "a@evil.example",
    "javascript:alert(1)",
    "&#64;channel",
    "&commat;all",
    "~town-square",
    "<img src=http://e.example/x.png>",
    "<a href='http://e.example'>bank</a>",
    "<div>\n[a](http://e)\n</div>",
    "```\nx ```\n[a](http://e.example) @all",
    "~~~\na ~~~\n@all",
    "- ```\n  a\n  ```\n  @all",
    "> ```\n> a\n[b](http://e) @all",
    "\\`@all\\` \\http://e.example",
    "    ```\n[a](http://e) @all",
    "`a`http://e.example`b` @all `",
    "```a`b\n[a](http://e)\n```",
    "```\nnever closed @all",
    "\r@all\r[1]: http://e.example\r",
]

DISPUTED = [
    "| a | `[x](http://e.example)|` |\n|---|---|\n| `www.e.example|` | `@all|` |",
    "``\n@all\n``",
    "`a\n@all b`",
    "1. x\n```\na\n\n[b](http://e.example)\n```",
]
"""Code for some readers."""
MARKED = "".join(sorted({*"".join(ATTACKS), *"`~@<[]()!:&#|\\ \n\t\r>-_*1.", JOINER, "中"}))
PIECES = st.lists(
    st.sampled_from(ATTACKS + DISPUTED) | st.text(st.sampled_from(MARKED), max_size=6), max_size=8
)
FOREIGN = PIECES.map("".join) | PIECES.map("\n".join) | PIECES.map(" ".join)


@pytest.mark.parametrize("text", ATTACKS)
def test_kind_13_an_answer_calls_nobody_and_links_nothing(text: str) -> None:
    assert dangers(text), "the judge does not see this attack"
    assert dangers(harmless(text)) == []


@pytest.mark.parametrize("text", DISPUTED)
def test_kind_13_what_is_code_for_some_readers_is_harmless_for_all(text: str) -> None:
    assert JOINER in harmless(text) or "`" not in harmless(text) or "\n\n```" in harmless(text)
    assert dangers(harmless(text)) == []


@given(FOREIGN)
def test_kind_13_whatever_is_put_together(text: str) -> None:
    assert dangers(harmless(text)) == []
    assert harmless(harmless(text)) == harmless(text)


@given(FOREIGN, st.lists(st.integers(0, 200), max_size=8))
def test_kind_13_in_pieces_it_is_as_harmless_as_the_whole(text: str, cuts: list[int]) -> None:
    stream, shown, start = SanitizedStream(), "", 0
    for cut in [*sorted(cuts), len(text)]:
        shown += stream.add(text[start : max(start, cut)])
        start = max(start, cut)
    assert shown + stream.add("", last=True) == harmless(text)


def _words(say: Text) -> str:
    return str(say.params["words"])


def _anywhere(text: str) -> Reply:
    """The text in every place of a reply that can hold words of others."""
    words = verbatim(text)
    return Reply(words, lines=(words,), fields=((words, words),), answer=text, log=text, footnote=words)


@given(FOREIGN)
def test_kind_13_in_any_place_of_a_post_in_mattermost(text: str) -> None:
    assert dangers(mattermost.render(_anywhere(text), _words)) == []
