"""What stands before the message of a log line, and which lines are exceptions.

One line of vLLM 0.6 to 0.33 may bear what its logger, its process, torch, Ray, the container runtime and a
log viewer put before it: `2026-11-27T10:32:12.123456789Z stderr F (EngineCore pid=29) ERROR 11-27 10:32:12
[core.py:1510] RuntimeError: …`."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

LONGEST = 2000
"""Characters of a line that are looked at."""
_COLOUR = re.compile(r"\x1b\[[\d;]{0,20}[A-Za-z]")
_NAME = r"(?:ERROR|CRITICAL|WARNING|INFO|DEBUG)"
_LEVEL = re.compile(rf"\b{_NAME}\b(?=[ :])")
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_POD = r"[a-z0-9][a-z0-9.-]{0,252}-[b-df-hj-np-tv-xz2-9]{5}"
_PREFIXES = (
    # kubectl and docker logs with timestamps; containerd's files
    rf"\[?\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:Z|[+-]\d\d:?\d\d)?\]? ",
    r"(?:stdout|stderr) [FP] ",
    # vLLM's and Ray's processes; vLLM's logger
    r"\((?:[\w.-]{1,60},? )?(?:rank=\d{1,4} )?pid=[^()\n]{1,60}\) ?|\(autoscaler [^()\n]{1,20}\) ",
    rf"{_NAME} (?:\d{{4}}-)?\d\d-\d\d {_CLOCK} (?:\[[^\]\n]{{1,80}}\] ?|[\w./]{{1,80}}:\d{{1,6}}\] ?)?",
    # uvicorn's and Python's own loggers; those of torch
    rf"INFO: {{5}}|(?:ERROR|DEBUG): {{4}}|WARNING: {{2}}|{_NAME}: |{_NAME}:[\w.]{{1,80}}:",
    rf"(?:- (?:[\w.]{{1,80}} - )?)?{_NAME} - (?:[\w.]{{1,80}} - )?",
    rf"\[?[EWIF]\d{{4}} {_CLOCK}[^\]\n]{{1,120}}\] ?",
    r"\[rank\d{1,4}\]:? ?",
    # kubectl logs --prefix; kail and stern; journald and syslog; docker compose
    r"\[pod/[^\]\n]{1,300}\] ",
    rf"(?:[a-z0-9-]{{1,63}}[/ ])?{_POD}(?:\[[a-z0-9-]{{1,63}}\]:| [a-z0-9-]{{1,63}}) ",
    rf"[A-Z][a-z]{{2}} [ \d]\d {_CLOCK} [\w.-]{{1,64}} [\w.@/-]{{1,64}}: ",
    rf"(?:[A-Z][a-z]{{2}} [ \d]\d {_CLOCK} )?[\w.-]{{1,64}} [\w.@/-]{{1,64}}\[\d{{1,8}}\]: ",
    r"[\w.-]{1,80} {1,20}\| ",
)
_PREFIX = re.compile(f"(?:{'|'.join(_PREFIXES)})*")
_PROCESS = re.compile(r"\((\w[^()\n]{0,60}pid=\d{1,9})")
_HINTS = ("rror", "RROR", "CRITICAL", "xception", "Traceback", "exc.", "assert ", "nterrupt", "[type=")
"""One of them stands in every line that may be an exception or an error; plain texts are found fast."""
_EXCEPTION = re.compile(
    r"(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z]?\w{0,60}(?:Error|Exception|Interrupt|Exit)(?:\(\w{1,60}\))?(?:: .*)?"
    r"|(?:[a-z_]\w{0,60}\.){1,8}[A-Z]\w{0,60}: .*"
    r"|[\w.]{1,60}(?: \w{1,30})?: error: .*"
    r"| *Value error, .*"
    r"| .*\[type=\w{1,60}, input_value=.*"
)
_WEAK = re.compile(
    r"[\w.]{1,300}|(?:KeyError|IndexError|json.decoder.JSONDecodeError): .*"
    r"|.* validation errors? for \w{1,60}"
)


class LogLine(NamedTuple):
    """A line of a log without what stands before its message."""

    message: str
    """Its message, with the indentation."""
    process: str
    """The process that wrote it, such as `EngineCore pid=29`; empty: the line does not say."""
    level: str
    """The level that a logger gave it; empty: none, as in a traceback that Python prints itself."""
    number: int
    """Its number in its text; the first is 1."""

    @property
    def is_loud(self) -> bool:
        """A logger calls it an error."""
        return self.level in ("ERROR", "CRITICAL")

    @property
    def is_quiet(self) -> bool:
        """A logger calls it a warning or less."""
        return bool(self.level) and not self.is_loud

    @property
    def is_exception(self) -> bool:
        """It ends a traceback, or is what a program says as it gives up."""
        return _EXCEPTION.fullmatch(self.message) is not None

    @property
    def is_weak(self) -> bool:
        """It is an exception that says little alone; what the same process says next may say more."""
        return _WEAK.fullmatch(self.message) is not None


def without_colours(text: str) -> str:
    """The text without the codes that colour it in a terminal."""
    return _COLOUR.sub("", text) if "\x1b" in text else text


def level(text: str, begin: int, end: int) -> str:
    """The first name of a level between two places; empty: none."""
    found = _LEVEL.search(text, begin, end)
    return found[0] if found else ""


def line_at(text: str, begin: int, number: int = 1) -> LogLine:
    """The line that begins there, which has this number."""
    end = text.find("\n", begin, begin + LONGEST)
    line = text[begin : end if end >= 0 else begin + LONGEST].rstrip().rpartition("\r")[2]
    prefix = _PREFIX.match(line)
    start = prefix.end() if prefix else 0
    process = _PROCESS.search(line, 0, start)
    named = level(line, 0, start) or level(line, start, start + 9)
    return LogLine(line[start:], process[1] if process else "", named, number)


def noteworthy(text: str, cut: int, more: Iterable[str]) -> Iterator[LogLine]:
    """The lines within the first `cut` characters that may be exceptions or errors, or hold one of the texts
    `more`, in their order. Each line is looked at once, however often a text stands in it."""
    begins = set()
    for hint in (*_HINTS, *more):
        at = text.find(hint, 0, cut)
        while at >= 0:
            begins.add(text.rfind("\n", 0, at) + 1)
            end = text.find("\n", at, cut)
            at = text.find(hint, end, cut) if end >= 0 else -1
    number, counted = 1, 0
    for begin in sorted(begins):
        number, counted = number + text.count("\n", counted, begin), begin
        yield line_at(text, begin, number)
