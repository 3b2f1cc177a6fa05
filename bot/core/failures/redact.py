"""Hides secrets in text that is shown or logged where others read it.

What the tokens of well-known services look like is what detect-secrets says; added is what it does not know:
names before values, options, headers, addresses with passwords, and private keys to their end."""

import re

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.keyword import DENYLIST
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.stripe import StripeDetector

from bot.core.chat.characters import visible

HIDDEN = "•••"
_DETECTORS = (
    AWSKeyDetector,
    AzureStorageKeyDetector,
    GitHubTokenDetector,
    GitLabTokenDetector,
    PypiTokenDetector,
    SendGridDetector,
    SlackDetector,
    StripeDetector,
)
"""Those whose tokens are no words of a log, and whose search takes no longer in one long line."""
_TOKENS = [re.compile(rf"(?:{known.pattern})[\w.+/=-]*") for of in _DETECTORS for known in of.denylist]
_OTHER_TOKENS = [
    re.compile(r"hf_[A-Za-z0-9]{8,}"),
    re.compile(r"github_pat_\w{8,}"),
    re.compile(r"npm_[A-Za-z0-9]{16,}"),
    re.compile(r"(?:xox[a-z]|xapp|glpat)-[\w-]{8,}"),
    re.compile(r"gh[opusr]_[A-Za-z0-9]{8,}"),
    re.compile(r"(?<![\w-])sk-(?=[a-z-]{0,20}[A-Z0-9])[\w-]{8,}"),
    re.compile(r"(?<![\w-])eyJ[\w-]{6,}\.[\w-]{2,}(?:\.[\w-]*)?"),
]
"""Tokens of Hugging Face, GitHub, npm, Slack, GitLab, OpenAI and JSON Web Tokens."""
_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
    r"(?:(?:\s|\\n)*[A-Za-z0-9+/=]{16,}(?![^\s\\\-\"']))*"
    r"(?:(?:\s|\\n)*[A-Za-z0-9+/=]{0,80}(?:\s|\\n)*-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----)?"
)
_VALUE = r"(?!(?:None|null|true|false)\b)[^\s'\",;)\]}<>•|&]{4,}"
_NAMES = "|".join((*DENYLIST, "access_?key", "token", "passphrase")).replace("_?", "[_-]?")
_NAME = f"(?i:(?=[acdkpst])(?:{_NAMES}))"
_IS = r"(?:=>|:=|=|:(?![ ][A-Z]?[a-z]+[ ][a-z]))"
"""What stands between a name and its value; `password: Permission denied` is a sentence."""
_NAMED = re.compile(rf"({_NAME}['\"\]]{{0,2}}[ \t]{{0,4}}{_IS}[ \t]{{0,4}}[\[(]?['\"]?){_VALUE}")
_LISTED = re.compile(rf"({_NAME}['\"]?[ \t]{{0,4}}{_IS}[ \t]{{0,4}}\[)['\"][^\]]{{4,2000}}")
"""Several of them: what vLLM logs of its API keys."""
_OPTION = re.compile(rf"((?<![\w-])--?(?:hf-)?{_NAME}(?:['\"],[ ]{{0,2}}|[ \t]{{1,4}})['\"]?){_VALUE}")
_SCHEME = r"(?i:bearer|basic|token|digest|negotiate|apikey)"
_HEADER = re.compile(
    rf"((?i:authorization)['\"]?[ \t]{{0,4}}[=:][ \t]{{0,4}}['\"]?(?:{_SCHEME}[ ]|(?=\w*\d))"
    rf"|(?i:bearer[ ])|(?i:basic[ ])(?=[a-z]*[A-Z0-9])){_VALUE}"
)
_ADDRESS = re.compile(r"(://[^\s/:@'\"]{0,100}:)[^\s/'\"]{1,200}(?=@)")


def evidence(text: str, longest: int) -> str:
    """The beginning of a text of others as it can be shown and stored: without secrets, and with nothing that
    nobody sees."""
    return redact(visible(text[: 4 * longest].strip()))[:longest]


def redact(text: str) -> str:
    """The text with tokens, keys and passwords hidden."""
    for whole in (_KEY, *_TOKENS, *_OTHER_TOKENS):
        text = whole.sub(HIDDEN, text)
    for behind in (_HEADER, _LISTED, _OPTION, _NAMED, _ADDRESS):
        text = behind.sub(rf"\1{HIDDEN}", text)
    return text
