"""`python -m bot diagnose [--json] [FILE]`: the cause in a vLLM log of any length."""

import io
import json
import sys
from itertools import chain
from pathlib import Path

from bot.app.settings import Settings
from bot.cli.shell import BAD_INPUT, FAILED, OK, speaker
from bot.core.chat.characters import visible
from bot.core.chat.text import t
from bot.core.failures import diagnosis
from bot.core.failures.remedies import remedy as remedy_of

PIECE = 2**20
"""Characters that are read at a time."""
HEALTHY = "healthy"


def diagnose(file: str, as_json: bool, settings: Settings) -> int:
    """Print it; OK if nothing is wrong, FAILED if something is, known or not, BAD_INPUT if there is no log:
    it cannot be read, or is empty."""
    say = speaker(settings)
    try:
        with _open(file) as log:
            first = log.read(PIECE)
            found = diagnosis.diagnose(chain((first,), iter(lambda: log.read(PIECE), "")))
    except OSError as error:
        print(f"{file}: {error.strerror}", file=sys.stderr)
        return BAD_INPUT
    summary, remedy = say(t(f"cause.{found.cause}")), say(remedy_of(found.cause))
    if as_json:
        result = {
            "cause": found.cause,
            "summary": summary,
            "remedy": remedy,
            "evidence": found.evidence,
            "line": found.line or None,
        }
        print(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        shown = f"{found.line}: {found.evidence}" if found.line else ""
        print(visible("\n".join(filter(None, (summary, shown, remedy)))))
    if not first.strip():
        return BAD_INPUT
    return OK if found.cause == HEALTHY else FAILED


def _open(file: str) -> io.TextIOBase:
    if file == "-":
        return io.TextIOWrapper(sys.stdin.buffer, "utf-8", "replace")
    return Path(file).open(encoding="utf-8", errors="replace")
