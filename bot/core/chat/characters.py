"""Characters that nobody sees: they move the cursor, colour the screen, turn text around or end its lines."""

import re

_COLOUR = re.compile(r"\x1b\[[\d;:?]{0,30}[A-Za-z]")
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters of ASCII and of C1, but for tab and end of line
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of a text
    r"\u2028\u2029\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # separators, marks, tags
    r"\ud800-\udfff]"  # halves of a character, which no encoding takes
)


def visible(text: str) -> str:
    """The text without codes for colours, and with every other character that nobody sees written out:
    U+202E as `\\u202e`. A line ends with a line feed alone."""
    text = _COLOUR.sub("", text) if "\x1b" in text else text
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return _UNSEEN.sub(lambda found: _spelled(found[0]), text)


def _spelled(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
