"""What is made harmless stays readable, and can be copied where it is code."""

import time

import pytest

from bot.platforms.shared.sanitize import JOINER, SanitizedStream, as_code, harmless, plain

CODE = "@app.route('/')\nfor x in a[i](0)[1]:\n    std::cout << x['a:b'] | ~mask && y;  # <div> &amp;"


@pytest.mark.parametrize(
    "text",
    [
        f"Like this:\n\n```python\n{CODE}\n```\nand on",
        "Use `@dataclass` and `xs[i](x)`, then `ls | wc`.",
        "# Title\n\n- **bold** and *italic*\n  - ~~gone~~ ~ 5 GB\n1. one\n\n> quoted\n\n---",
        "| a | b |\n|---|---:|\n| 1 < 2 | std::vector |\n",
        "Costs $5 & more, at 12:30: me, too. #1 x_y a*b <= c [x] (y)",
        "```\n```",
    ],
)
def test_what_is_no_mention_and_no_link_stays_as_it_is(text: str) -> None:
    assert harmless(text).replace(f"~~{JOINER}", "~~") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://x.org/a_b?c=1.", "see `https://x.org/a_b?c=1`."),
        ("**http://x.org**", "**`http://x.org`**"),
        ("[a](http://x.org)", "[a](`http://x.org`)"),
        ("a ``b`c`` d", "a `b'c` d"),
        ("a ` b", "a ' b"),
        ("- ```sh\n  ls\n  ```\n- b", "-\n\n```sh\nls\n```\n- b"),
        ("1. a\n   ~~~\n   ls\n   ~~~\n2. b", "1. a\n\n```\nls\n```\n2. b"),
        ("> ```\n> ls\nout", ">\n\n```\nls\n```\nout"),
        ("```\nnever closed", "```\nnever closed\n```"),
        ("\x1b[1mred\x1b[0m\x07\r\n\u202egnp \ud800", "red\\x07\n\\u202egnp \\ud800"),
    ],
)
def test_what_it_looks_like(text: str, shown: str) -> None:
    assert harmless(text).replace(JOINER, "") == shown


def test_words_look_like_themselves() -> None:
    assert plain("a*b_c [d] `e` | f").replace("\\", "") == "a*b_c [d] 'e' | f"
    assert plain("http://llm.svc:8000/v1 is it") == "`http://llm.svc:8000/v1` is it"
    assert as_code("a`b\nc") == "`a'b c`"


def test_words_of_a_line_are_shown_before_it_ends() -> None:
    stream = SanitizedStream()
    assert stream.add("some words of a li") == "some words of a "
    assert stream.add("ne, `co") == "line, "
    assert stream.add("de` \u4e2d\u6587\n") == "`code` \u4e2d\u6587\n"
    assert stream.add("\u4e2d\u6587\u4e2d\u6587") == "\u4e2d\u6587\u4e2d\u6587"


@pytest.mark.parametrize(
    "piece", ["`", "``a", "@a", "a:", "a.", "://", "www.", "[a](", "- ", "~", "\\`", " "]
)
def test_no_text_takes_long(piece: str) -> None:
    begun = time.perf_counter()
    harmless(piece * (100_000 // len(piece)))
    assert time.perf_counter() - begun < 10  # quadratic would be minutes


@pytest.mark.parametrize("text", ["สวัสดีชาวโลก", "你好，世界", "\ufffd\ufffd{", "one two"])
def test_what_flows_without_blanks_between_words_is_shown_at_once(text: str) -> None:
    assert SanitizedStream().add(text)
