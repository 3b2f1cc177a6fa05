"""Why a model server failed, from its log: the earliest specific cause, and the line that shows it."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from bot.core.failures.log_signs import DIED, LAST_RESORT, SERVING, SIGNS, TOKENS_THAT_FIT, WRAPPERS, Sign
from bot.core.failures.redact import redact

WINDOW = 600
"""Characters from the start of a sign's line in which its pattern must be found."""
EVIDENCE, TRIES = 300, 300
"""Characters of a line that are shown at most; places of one sign that are tried in one piece of a log."""
_LEVEL = re.compile(r"\b(?:WARNING|INFO|DEBUG)\b[ :]")
_PREFIX = re.compile(
    r"^(?:\([^()\n]{1,60}\) ?|\[rank\d{1,3}\]:? ?|(?:ERROR|WARNING|INFO|CRITICAL) \d\d-\d\d [\d:]{8} "
    r"(?:\[[^\]\n]{1,60}\] ?|[\w.]{1,60}:\d{1,6}\] ?)?)+"
)


class Diagnosis(NamedTuple):
    """What a log says about the end of a server."""

    cause: str
    """The name of a sentence `[cause]`; `healthy`: nothing is wrong; `unknown`: something is, but not
    what."""
    evidence: str = ""
    """The line that shows it, without secrets; empty: there is none."""
    line: int = 0
    """The number of that line; the first is 1. 0: there is none."""
    fitting_context: int = 0
    """The longest context in tokens that would fit, as the log says; 0: it does not say."""

    @property
    def failed(self) -> bool:
        """Something is wrong. Warnings alone are healthy."""
        return self.cause != "healthy"


class LogReader:
    """Reads a log in pieces of any size, and keeps no more of it in memory than its last lines."""

    def __init__(self) -> None:
        self._rest, self._lines = "", 0
        self._found: Diagnosis | None = None
        self._last_resort: Diagnosis | None = None
        self._wrapped: Diagnosis | None = None
        self._serves, self._last, self._last_line = False, "", 0

    def feed(self, text: str, *, end: bool = False) -> None:
        """Read the next piece. With `end` it is the last one; else its last lines are kept until more comes,
        because a message may go on."""
        text = self._rest + text
        cut = len(text) if end else _start_of_last_lines(text)
        if cut and self._found is None:
            self._look(text, cut)
        if ready := text[:cut].rstrip():
            self._last = ready[ready.rfind("\n") + 1 :][-EVIDENCE:]
            self._last_line = self._lines + ready.count("\n") + 1
        self._lines += text.count("\n", 0, cut)
        self._rest = text[cut:]

    def diagnosis(self) -> Diagnosis:
        """What the log shows up to here; it ends the log."""
        self.feed("", end=True)
        if self._found or self._last_resort:
            return self._found or self._last_resort or Diagnosis("unknown")
        if self._last.endswith("Killed"):
            return Diagnosis("container_oomkilled", self._last.strip(), self._last_line)
        if self._wrapped or not self._last:
            return self._wrapped or Diagnosis("unknown")
        return Diagnosis("healthy")

    def _look(self, text: str, cut: int) -> None:
        """Search the first `cut` characters; of several signs the one that comes first decides."""
        places = ((self._place(text, cut, sign), sign) for sign in SIGNS if sign.text in text)
        first = min(((at, sign) for at, sign in places if at >= 0), default=None, key=lambda found: found[0])
        if first:
            self._found = self._diagnosis_at(text, *first)
            return
        for sign in LAST_RESORT:
            if self._last_resort is None and (at := self._place(text, cut, sign)) >= 0:
                self._last_resort = self._diagnosis_at(text, at, sign)
        if not self._serves and text.find(SERVING, 0, cut) >= 0:
            self._serves, self._wrapped = True, None
        for words in DIED if self._serves else WRAPPERS:  # a server that serves may refuse a request
            if self._wrapped is None and (at := text.find(words, 0, cut)) >= 0:
                self._wrapped = Diagnosis("unknown", _line(text, at), self._number(text, at))

    def _place(self, text: str, cut: int, sign: Sign) -> int:
        """Where the sign first stands in a line that is no warning; -1 if nowhere."""
        at = -len(sign.text)
        for _ in range(TRIES):
            at = text.find(sign.text, at + len(sign.text), cut)
            if at < 0:
                break
            begin = text.rfind("\n", 0, at) + 1
            warns = _LEVEL.search(text, max(begin, at - WINDOW), at) is not None
            if not warns and (sign.pattern is None or sign.pattern.search(_window(text, begin))):
                return at
        return -1

    def _diagnosis_at(self, text: str, at: int, sign: Sign) -> Diagnosis:
        window = _window(text, text.rfind("\n", 0, at) + 1)
        fits = [int(found[1]) for pattern in TOKENS_THAT_FIT if (found := pattern.search(window))]
        return Diagnosis(sign.cause, _line(text, at), self._number(text, at), min(fits, default=0))

    def _number(self, text: str, at: int) -> int:
        return self._lines + text.count("\n", 0, at) + 1


def diagnose(pieces: Iterable[str]) -> Diagnosis:
    """The diagnosis of a log that comes in pieces, in constant memory."""
    reader = LogReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.diagnosis()


def _start_of_last_lines(text: str) -> int:
    """Where the last three lines begin: a wrapped message may go on. A line that never ends is cut."""
    cut = len(text)
    for _ in range(3):
        cut = text.rfind("\n", 0, max(0, cut - 1)) + 1
    return cut if cut or len(text) < 64 * WINDOW else len(text) - WINDOW


def _window(text: str, begin: int) -> str:
    """The line that begins there and the two after it as one, without what loggers put before them."""
    lines = text[begin : begin + WINDOW].split("\n")[:3]
    return " ".join(_PREFIX.sub("", line).strip() for line in lines)


def _line(text: str, at: int) -> str:
    begin, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    line = text[begin : end if end >= 0 else len(text)]
    return redact(_PREFIX.sub("", line[:2000]).strip())[:EVIDENCE]
