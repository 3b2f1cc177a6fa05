"""Makes text of others harmless as Markdown: it calls nobody, links nothing and loads no picture.

What Slack, Mattermost's server and its clients take for a link or for code differs, and so would any parser
of ours. So nothing is looked for that they might read: outside of code, every character that begins a mention
or a link is broken, and code is written again in the one way that all of them read alike."""

import re

from bot.core.chat.characters import visible

JOINER = "\u2060"
"""A word joiner: invisible, and enough that a chat server no longer reads what it is put into."""

_ADDRESS = r"(?P<address>(?:(?:[A-Za-z][A-Za-z0-9+.-]{0,20})?://|(?i:www)\.(?=[A-Za-z0-9]))[A-Za-z0-9%&/=?@#$~+_.,:;!-]*)"
_LOOSE = ".,:;!?_~"
"""What ends a sentence or an emphasis rather than an address."""
_BROKEN = (
    r"@(?=[^\s\u2060])"  # @name
    r"|&(?=[#A-Za-z])"  # a character by its name
    r"|(?<=[A-Za-z]):(?=[^\s:\u2060])|:(?=/)"  # scheme:address
    r"|~(?=[A-Za-z0-9])"  # ~channel
    r"|<(?=[^\s=<\u2060])"  # tags, addresses, and Slack's marks such as <!channel>
    r"|\](?=[(\[:])"  # [words](address), [words][reference], [reference]: address
)
_ACTIVE = re.compile(f"{_ADDRESS}|{_BROKEN}")
_SPECIAL = re.compile(rf"{_ADDRESS}|{_BROKEN}|(?P<mark>[\\`*_\[\]|<>~])")
_SLACK_MARK = re.compile(r"<(?=[!@#](?!DOCTYPE)\w|(?:https?|mailto|tel|slack):)", re.IGNORECASE)
"""Slack reads these in code too."""
_TICKS = re.compile("`+")
_LONG = re.compile("(?<=``)`|(?<=~~)~")
_FENCE = re.compile(r"((?:[ \t]*(?:[-*+>]|\d{1,9}[.)])(?=[ \t`~]))*[ \t]*)(`{3,}|~{3,})([^`\n]*)")
_MAY_BE_FENCE = re.compile(r"[\s\d>*+.)`~-]*$|[\s\d>*+.)-]*[`~]")
_CUT = re.compile(r"[ \t\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\ud7ff\ufffd]")
"""Nothing behind such a character depends on what stands before it: blanks, writing without blanks between
words (Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean), and the sign for what is no character."""


def harmless(text: str) -> str:
    """Markdown with a word joiner wherever it would mention people or be a link; addresses become code."""
    return SanitizedStream().add(text, last=True)


def plain(text: str) -> str:
    """Words as Markdown that looks like them: without emphasis, mentions, links and pictures."""
    return _disarmed(visible(text), _SPECIAL)


def as_code(words: str) -> str:
    """Words of one line as inline code, which they cannot end."""
    return "`{}`".format(visible(words).replace("`", "'").replace("\n", " "))


def inside_code(text: str) -> str:
    """Lines as they can stand in a block of code, which they cannot end."""
    text = _LONG.sub(lambda found: JOINER + found[0], visible(text))
    return _SLACK_MARK.sub(lambda found: found[0] + JOINER, text)


class SanitizedStream:
    """`harmless` for a text that comes in pieces; what may still become something else is held back."""

    def __init__(self) -> None:
        self._held = ""
        self._before, self._mark = "", ""
        """What stands before each line of the open block of code, and the mark that ends it; no mark: there
        is none."""
        self._begun = False
        """A part of the line has been shown."""
        self._blank = True
        """Nothing stands in the line before."""

    def add(self, piece: str, *, last: bool = False) -> str:
        """What can be shown next."""
        text = self._held + piece
        end = "\r" if text.endswith("\r") and not last else ""
        text = text.removesuffix(end).replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        shown = "".join(self._line(visible(line)) for line in lines)
        cut = len(rest) if last else self._safe_cut(rest)
        self._held = rest[cut:] + end
        shown += self._part(visible(rest[:cut]), last=last)
        if last and self._mark:
            self._mark = ""
            shown += "```" if shown.endswith("\n") or not shown else "\n```"
        return shown

    def _line(self, line: str) -> str:
        """A line that is there to its end."""
        begun, self._begun = self._begun, False
        closed = ""
        if self._mark:
            if ">" not in self._before or line.lstrip().startswith(">"):
                return self._line_of_code(line)
            closed, self._mark = "```\n", ""  # the quotation is over, and the code in it
        if not begun and (found := _FENCE.fullmatch(line)):
            return closed + self._opened(found)
        self._blank = not begun and not line.strip()
        return f"{closed}{_prose(line)}\n"

    def _opened(self, found: re.Match[str]) -> str:
        """The first line of a block of code. It stands in no list or quotation, whose ends are read
        differently, and below an empty line."""
        self._before, self._mark = found[1], found[2]
        above = f"{found[1].rstrip()}\n\n" if found[1].strip() else "" if self._blank else "\n"
        language = re.match(r"[\w+#.-]{0,30}", found[3].strip())
        return f"{above}```{language[0] if language else ''}\n"

    def _line_of_code(self, line: str) -> str:
        if ">" in self._before:
            line = line.lstrip().removeprefix(">").removeprefix(" ")
        indentation = len(line) - len(line.lstrip(" \t"))
        line = line[min(indentation, len(self._before)) :]
        stripped = line.strip()
        if stripped.startswith(self._mark) and not stripped.strip(self._mark[0]):
            self._mark, self._blank = "", False
            return "```\n"
        return f"{inside_code(line)}\n"

    def _part(self, part: str, *, last: bool) -> str:
        """The beginning of a line, or more of it."""
        if not part:
            return ""
        if last and not self._begun:
            return self._line(part).removesuffix("\n")
        self._begun = True
        return _prose(part)

    def _safe_cut(self, rest: str) -> int:
        """How much of an unfinished line can be shown: in code none, as it may be its end."""
        if self._mark or (not self._begun and _MAY_BE_FENCE.match(rest)):
            return 0
        tick = rest.find("`")
        cuts = [found.end() for found in _CUT.finditer(rest, 0, tick if tick >= 0 else len(rest))]
        return cuts[-1] if cuts else 0


def _prose(line: str) -> str:
    """A line: what is code in it, between as many ticks before as behind, and what is not."""
    shown, words, position = "", "", 0
    while opening := _TICKS.search(line, position):
        words += line[position : opening.start()]
        closing = None if words.endswith("\\") else _closing(line, opening)
        if closing is None:
            words += "'" * len(opening[0])
            position = opening.end()
        else:
            code = _span(line[opening.end() : closing.start()])
            shown, words = _joined(_joined(shown, _disarmed(words)), code), ""
            position = closing.end()
    return _joined(shown, _disarmed(words + line[position:]))


def _joined(shown: str, more: str) -> str:
    """Both, as two pieces of code if they are."""
    return shown + (JOINER if shown.endswith("`") and more.startswith("`") else "") + more


def _closing(line: str, opening: re.Match[str]) -> re.Match[str] | None:
    """The ticks that end the code; None: it is none, or empty, which is read differently."""
    ticks = _TICKS.finditer(line, opening.end())
    closing = next((tick for tick in ticks if len(tick[0]) == len(opening[0])), None)
    return closing if closing and line[opening.end() : closing.start()].strip() else None


def _span(words: str) -> str:
    """Inline code; with a bar in it, it may be two cells of a table, and then it is none."""
    if "|" in words:
        words = _ACTIVE.sub(lambda found: _broken(found[0]), words)
    return as_code(_SLACK_MARK.sub(lambda found: found[0] + JOINER, words))


def _disarmed(words: str, active: re.Pattern[str] = _ACTIVE) -> str:
    return active.sub(_harmless_mark, words)


def _harmless_mark(found: re.Match[str]) -> str:
    if found["address"] is not None:
        address = found[0].rstrip(_LOOSE)
        apart = JOINER if found.string[: found.start()].endswith("\\") else ""
        return f"{apart}`{address}`{found[0][len(address) :]}"
    mark = found.groupdict().get("mark")
    return {None: _broken(found[0]), "~": f"~{JOINER}", "`": "'"}.get(mark, f"\\{mark}")


def _broken(mark: str) -> str:
    """The mark with a joiner behind it; of an address, behind its scheme."""
    scheme, point, rest = mark.partition("." if mark[:4].lower() == "www." else ":")
    return f"{scheme}{point}{JOINER}{rest}"
