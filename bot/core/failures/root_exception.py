"""The exception from which a failure comes, when no sign names it."""

from typing import NamedTuple, Self

from bot.core.failures.log_lines import LogLine, noteworthy
from bot.core.failures.log_signs import CRASHES, DIED, SERVING, STOPPED, WRAPPERS
from bot.core.failures.redact import evidence

LONGEST = 300
"""Characters of a line that are shown at most."""
_TEXTS = (SERVING, STOPPED, *CRASHES)
"""Texts of lines that matter and are neither exceptions nor errors of a logger."""


class EvidenceLine(NamedTuple):
    """A line that shows something."""

    text: str
    """The line, without secrets, control characters and what stands before its message."""
    line: int
    """Its number in the log; the first is 1."""

    @classmethod
    def of(cls, line: LogLine, before: int, said: str = "") -> Self:
        """The evidence of a line of a piece that has `before` lines before it; `said` follows its message."""
        return cls(evidence(line.message.strip() + said, LONGEST), before + line.number)


class RootException:
    """Follows a log to the exception that the others come from.

    While a server starts that is the first one that is not about another. Of a server that answers requests
    it is the last one before its engine died: those before it were of requests that it refused."""

    def __init__(self) -> None:
        self._serves, self._died, self._stopped = False, False, False
        self._exception: EvidenceLine | None = None
        self._process, self._is_weak, self._assertion = "", False, ""
        self._error: EvidenceLine | None = None
        self._wrapper: EvidenceLine | None = None

    def evidence(self) -> EvidenceLine | None:
        """The line that shows it; without such an exception one that says less; None: nothing failed."""
        if self._serves and not self._died:
            return None
        return self._exception or self._error or self._wrapper

    def look(self, text: str, cut: int, before: int) -> None:
        """Read the first `cut` characters of the next piece, which has `before` lines before it."""
        for line in noteworthy(text, cut, _TEXTS):
            if SERVING in line.message and not self._serves:
                self._serves = True
                self._exception = self._error = self._wrapper = None
            elif STOPPED in line.message:
                self._stopped = self._serves
            elif not (line.is_quiet or self._died or self._stopped):
                self._take(line, before)

    def _take(self, line: LogLine, before: int) -> None:
        dies = _has(line.message, DIED)
        wraps = dies or _has(line.message, WRAPPERS)
        self._died = self._serves and dies
        if self._serves and not dies and line.process.startswith("APIServer"):
            return  # a request that was refused
        if line.is_exception and not wraps:
            self._take_exception(line, before)
        elif line.message.lstrip().startswith("assert "):
            self._assertion = line.message.strip()
        elif _has(line.message, CRASHES) or (line.is_loud and not wraps and line.message[:1].isalpha()):
            self._error = self._error or EvidenceLine.of(line, before)
        elif wraps or line.is_loud:
            self._wrapper = self._wrapper or EvidenceLine.of(line, before)

    def _take_exception(self, line: LogLine, before: int) -> None:
        explains = self._is_weak and line.process == self._process and not line.is_weak
        if self._exception and not explains and not self._serves:
            return
        said = f": {self._assertion}" if line.message == "AssertionError" and self._assertion else ""
        self._exception = EvidenceLine.of(line, before, said)
        self._process, self._is_weak = line.process, line.is_weak


def _has(message: str, texts: tuple[str, ...]) -> bool:
    return any(text in message for text in texts)
