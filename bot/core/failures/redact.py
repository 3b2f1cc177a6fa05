"""Hides secrets in logs and events, which are shown where others read them."""

import re

HIDDEN = "•••"
_TOKEN = r"\b(?:hf|sk|ghp|gho|glpat|xox[abposr]|xapp)[_-][A-Za-z0-9_-]{8,}"
"""Tokens of Hugging Face, OpenAI, GitHub, GitLab and Slack."""
_NAMED = (
    r"(?i:bearer|basic)[ ]"
    r"|(?i:api[_-]?key|token|passw(?:or)?d|secret)['\"]?[ ]?[=:][ ]?['\"]?"
    r"|--api-key[ ]|://[^\s/:@]{0,100}:(?=[^\s/@]{1,200}@)"
)
_SECRET = re.compile(rf"{_TOKEN}|({_NAMED})(?!None\b|null\b|true\b|false\b)[^\s'\",)@]{{4,}}")


def redact(text: str) -> str:
    """The text with tokens, keys and passwords hidden."""
    return _SECRET.sub(lambda found: (found[1] or "") + HIDDEN, text)
