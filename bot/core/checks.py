"""What a check of `doctor` finds."""

from bot.core.chat.text import Text

Finding = tuple[str, Text, Text | None]
"""`ok`, `warn` or `fail`; what was found; what to do about it, if anything."""
