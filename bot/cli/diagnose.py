"""`python -m bot diagnose [--json] [FILE]`: the cause in a vLLM log of any length."""

import io
import json
import sys
from pathlib import Path

from bot.app.settings import Settings
from bot.cli.offline import BAD_INPUT, speaker
from bot.core.chat.text import t
from bot.core.failures import diagnosis

PIECE = 2**20
"""Characters that are read at a time."""


def diagnose(file: str, as_json: bool, settings: Settings) -> int:
    """Print it; 2 if the log cannot be read."""
    say = speaker(settings)
    try:
        with _open(file) as log:
            found = diagnosis.diagnose(iter(lambda: log.read(PIECE), ""))
    except OSError as error:
        print(f"{file}: {error.strerror}", file=sys.stderr)
        return BAD_INPUT
    summary, remedy = say(t(f"cause.{found.cause}")), say(t(f"remedy.{found.cause}"))
    if as_json:
        said = {"cause": found.cause, "summary": summary, "remedy": remedy}
        told = {**said, "evidence": found.evidence, "line": found.line or None}
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        shown = f"{found.line}: {found.evidence}" if found.line else ""
        print("\n".join(filter(None, (summary, shown, remedy))))
    return 0


def _open(file: str) -> io.TextIOBase:
    if file == "-":
        return io.TextIOWrapper(sys.stdin.buffer, "utf-8", "replace")
    return Path(file).open(encoding="utf-8", errors="replace")
