"""A growing Markdown text, cut into pages; a page that is full never changes."""

import re

_FENCE = re.compile(r"^\s*(```+|~~~+)(.*)$")
_RULE = re.compile(r"^\s*\|?[\s:|-]*-[\s:|-]*\|[\s:|-]*$")
MARGIN = 40
"""Characters kept free on each page, to close a code block."""


class Pages:
    """`pages` are the pages so far; only the last one can still grow."""

    def __init__(self, limit: int) -> None:
        self.pages = [""]
        self._limit = limit - MARGIN

    def add(self, text: str) -> None:
        """Append, on as many pages as it takes; cut between lines, else between words."""
        while len(self.pages[-1]) + len(text) > self._limit:
            room = max(0, self._limit - len(self.pages[-1]))
            cut = text.rfind("\n", 0, room) + 1 or text.rfind(" ", 0, room) + 1 or room
            self.pages[-1] += text[:cut]
            text = text[cut:]
            self.start_page()
        self.pages[-1] += text

    def start_page(self) -> None:
        """Begin a new page: a code block is closed and opened again, a table gets its header again."""
        page = self.pages[-1]
        if opener := _open_fence(page):
            mark = opener.strip()[:3]
            self.pages[-1] = f"{page}{'' if page.endswith(chr(10)) else chr(10)}{mark}"
            self.pages.append(f"{opener}\n")
        else:
            self.pages.append(_table_header(page))


def _open_fence(page: str) -> str:
    """The line that opened the code block which the page ends in, or nothing."""
    opener = ""
    for line in page.splitlines():
        if found := _FENCE.match(line):
            if not opener:
                opener = line
            elif found[1].startswith(opener.strip()[:3]) and not found[2].strip():
                opener = ""
    return opener


def _table_header(page: str) -> str:
    """Header and rule of the table which the page ends in, or nothing."""
    if not page.endswith("\n"):
        return ""
    lines = page.splitlines()
    start = len(lines)
    while start and "|" in lines[start - 1]:
        start -= 1
    table = lines[start:]
    return f"{table[0]}\n{table[1]}\n" if len(table) > 1 and _RULE.match(table[1]) else ""
