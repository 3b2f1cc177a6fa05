"""How settings are written, and what of it is refused: a ValueError with one readable sentence each."""

import re
from datetime import timedelta
from string import Formatter
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from bot.core.access.roles import Quota
from bot.core.chat.duration import parse_duration, spell_duration
from bot.core.idle.verdict import LONGEST_WINDOW
from bot.core.written_forms import like

SHORTEST_WINDOW = timedelta(minutes=10)
"""Of idle models: a shorter one would take them away from people who read an answer."""
_QUOTA_WORDS = {"gpus", "deployments", "tp", "ttl"}
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_LABEL}")
_LABEL_VALUE = re.compile(_LABEL)
_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
DATABASES = ("sqlite", "postgresql+psycopg")
_PLACES = {"service", "namespace"}


def _words(value: Any) -> Any:
    return frozenset(value.replace(",", " ").split()) if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    """`a=b, c=d` → {"a": "b", "c": "d"}."""
    if not isinstance(value, str):
        return value
    pairs = [word.partition("=") for word in value.replace(",", " ").split()]
    if not all(key and found for key, _, found in pairs):
        raise ValueError("write key=value, key=value")
    return {key: found for key, _, found in pairs}


def _quota(value: Any) -> Any:
    """`gpus=2 deployments=2 tp=2 ttl=8h` → Quota; what is left out is no limit."""
    if not isinstance(value, str):
        return value
    given = _pairs(value)
    if strange := set(given) - _QUOTA_WORDS:
        raise ValueError(f"{min(strange)} is none of {', '.join(sorted(_QUOTA_WORDS))}")
    numbers = {key: found for key, found in given.items() if key != "ttl"}
    if wrong := [key for key, found in numbers.items() if not found.isdecimal()]:
        raise ValueError(f"{wrong[0]} takes a number, not {numbers[wrong[0]]}")
    return Quota(
        gpus=_number(numbers, "gpus"),
        deployments=_number(numbers, "deployments"),
        tensor_parallel_size=_number(numbers, "tp"),
        ttl=_duration(given["ttl"]) if "ttl" in given else None,
    )


def _number(given: dict[str, str], name: str) -> int | None:
    return int(given[name]) if name in given else None


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _windows(value: Any) -> Any:
    """`llama-3-70b=2h` → how long each of these models may be idle."""
    if not isinstance(value, str):
        return value
    found = {}
    for model, window in _pairs(value).items():
        try:
            found[model] = parse_duration(window)
        except ValueError as error:
            raise ValueError(f"{model}={window}: {error}") from None
    if strange := [m for m, window in found.items() if not SHORTEST_WINDOW <= window <= LONGEST_WINDOW]:
        least, most = spell_duration(SHORTEST_WINDOW), spell_duration(LONGEST_WINDOW)
        raise ValueError(f"{strange[0]}: at least {least}, at most {most}")
    return found


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("no time zone; write one like Europe/Berlin") from None
    return value


def _label_key(value: str) -> str:
    if not _LABEL_KEY.fullmatch(value):
        raise ValueError(f"{value} cannot be the key of a label or taint")
    return value


def _labels(value: Any) -> Any:
    """`a=b, c=d`, as labels can be."""
    pairs: dict[str, str] = _pairs(value)
    for key, found in pairs.items():
        _label_key(key)
        if not _LABEL_VALUE.fullmatch(found):
            raise ValueError(f"{found} cannot be the value of a label")
    return pairs


def _url_template(value: str) -> str:
    try:
        used = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
    except ValueError:
        raise ValueError("a brace is not closed") from None
    if strange := used - _PLACES:
        raise ValueError(f"knows {{service}} and {{namespace}}, not {{{min(strange)}}}")
    if not re.match(r"https?://.", value):
        raise ValueError("begins with http:// or https://")
    return value


def _database(value: SecretStr) -> SecretStr:
    """The driver is loaded where the address is another than of a file: it takes a moment."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    how = "write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
    try:
        url = make_url(value.get_secret_value())
    except (ArgumentError, ValueError):
        raise ValueError(how) from None
    if url.drivername not in DATABASES:
        raise ValueError(how)
    return value


Words = Annotated[frozenset[str], NoDecode, BeforeValidator(_words)]
Labels = Annotated[dict[str, str], NoDecode, BeforeValidator(_labels)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
Windows = Annotated[dict[str, timedelta], NoDecode, BeforeValidator(_windows)]
QuotaSetting = Annotated[Quota, NoDecode, BeforeValidator(_quota)]
Interval = Annotated[timedelta, BeforeValidator(_duration)]
Zone = Annotated[str, AfterValidator(_zone)]
UrlTemplate = Annotated[str, AfterValidator(_url_template)]
Database = Annotated[SecretStr, AfterValidator(_database)]
Namespace = Annotated[str, like(_NAME, "a namespace has lower-case letters, digits and hyphens")]
Host = Annotated[
    str, like(rf"({_NAME}(\.{_NAME})*)?", "write a name like models.example.org, without https://")
]
StorageClass = Annotated[str, like(rf"({_NAME}(\.{_NAME})*)?", "that cannot be the name of a storage class")]
Image = Annotated[str, like(r"[a-z0-9]\S*", "that cannot be the name of an image")]
Cpu = Annotated[str, like(r"([1-9]\d*m?)?", "write cores like 2, or thousandths of one like 500m")]
Memory = Annotated[str, like(r"([1-9]\d*(Mi|Gi|Ti))?", "write a size like 16Gi")]
Size = Annotated[str, like(r"[1-9]\d*(Mi|Gi|Ti)", "write a size like 200Gi")]
