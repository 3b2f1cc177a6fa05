"""make bench: each figure as a ratio of two things measured in one run; a table, and docs/benchmarks.json."""

import asyncio
import json
import logging
import platform
from pathlib import Path

import structlog

from tests.bench import commands, deploy, mattermost, nodes, process, slack, sweep, tokens, watching, week

PARTS = (commands, process, deploy, tokens, slack, mattermost, sweep, watching, nodes, week)


def main() -> None:
    """Run every part that has what it needs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rows = []
    for part in PARTS:
        rows += asyncio.run(part.measure())
    width = max(len(row["what"]) for row in rows)
    for row in rows:
        verdict = "ok" if row["ok"] else "MISSED"
        print(f"{row['what']:<{width}}  {row['value']:>10}  {row['limit']:>10}  {verdict}   {row['detail']}")
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    Path("docs/benchmarks.json").write_text(
        json.dumps({"machine": machine, "rows": rows}, indent=1, ensure_ascii=False)
    )


if __name__ == "__main__":
    main()
