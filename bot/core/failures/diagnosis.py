"""Why a model server failed, from its log: the earliest specific cause, and the line that shows it."""

from collections.abc import Iterable
from typing import NamedTuple

from bot.core.failures.log_lines import level, line_at, without_colours
from bot.core.failures.log_signs import LAST_RESORT, SIGNS, TOKENS_THAT_FIT, Sign
from bot.core.failures.root_exception import EvidenceLine, RootException

WINDOW = 600
"""Characters from the start of a sign's line in which its pattern must be found."""
TRIES = 300
"""Places of one sign that are tried in one piece of a log."""


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
        self._root = RootException()
        self._last: EvidenceLine | None = None
        self._killed = False

    def feed(self, text: str, *, end: bool = False) -> None:
        """Read the next piece. With `end` it is the last one; else its last lines are kept until more comes,
        because a message may go on."""
        text = without_colours(self._rest + text)
        cut = len(text) if end else _start_of_last_lines(text)
        if cut and self._found is None:
            self._look(text, cut)
        if ready := text[:cut].rstrip():
            self._last = self._evidence(ready, ready.rfind("\n") + 1)
            self._killed = ready.endswith("Killed")
        self._lines += text.count("\n", 0, cut)
        self._rest = text[cut:]

    def diagnosis(self) -> Diagnosis:
        """What the log shows up to here; it ends the log."""
        self.feed("", end=True)
        if found := self._found or self._last_resort:
            return found
        if shown := self._root.evidence():
            return Diagnosis("unknown", *shown)
        if self._last is None:
            return Diagnosis("unknown")
        if self._killed:  # vLLM says more before it kills its own processes
            return Diagnosis("container_oomkilled", *self._last)
        return Diagnosis("healthy")

    def _look(self, text: str, cut: int) -> None:
        """Search the first `cut` characters; of several signs the one that comes first decides."""
        self._found = self._first(text, cut, SIGNS)
        if self._found:
            return
        self._last_resort = self._last_resort or self._first(text, cut, LAST_RESORT)
        self._root.look(text, cut, self._lines)

    def _first(self, text: str, cut: int, signs: Iterable[Sign]) -> Diagnosis | None:
        """What the sign that comes first shows."""
        places = ((_place(text, cut, sign), sign) for sign in signs if sign.text in text)
        at, sign = min(
            ((at, sign) for at, sign in places if at >= 0), default=(-1, None), key=lambda found: found[0]
        )
        if sign is None:
            return None
        begin = text.rfind("\n", 0, at) + 1
        window = _window(text, begin)
        fits = [int(found[1]) for pattern in TOKENS_THAT_FIT if (found := pattern.search(window))]
        return Diagnosis(sign.cause, *self._evidence(text, begin), min(fits, default=0))

    def _evidence(self, text: str, begin: int) -> EvidenceLine:
        """The line that begins there."""
        return EvidenceLine.of(line_at(text, begin, text.count("\n", 0, begin) + 1), self._lines)


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


def _place(text: str, cut: int, sign: Sign) -> int:
    """Where the sign first stands in a line that is no warning, and no source of an exception, which comes
    later; -1 if nowhere."""
    at = -len(sign.text)
    for _ in range(TRIES):
        at = text.find(sign.text, at + len(sign.text), cut)
        if at < 0:
            break
        begin = text.rfind("\n", 0, at) + 1
        if level(text, max(begin, at - WINDOW), at) in ("WARNING", "INFO", "DEBUG"):
            continue
        window = _window(text, begin)
        if not window.startswith("raise ") and (not sign.pattern or sign.pattern.search(window)):
            return at
    return -1


def _window(text: str, begin: int) -> str:
    """The line that begins there and the two after it as one, without what stands before their messages."""
    lines = text[begin : begin + WINDOW].split("\n")[:3]
    return " ".join(line_at(line, 0).message.strip() for line in lines)
