"""The result of a check that `doctor` makes."""

from bot.core.chat.text import Text

Finding = tuple[str, Text, Text | None]
"""`ok`, `warn` or `fail`; what was found; what to do about it, or None."""
