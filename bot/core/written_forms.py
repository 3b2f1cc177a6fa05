"""Forms in which a setting has to be written, each refused with one readable sentence."""

import re
from typing import Annotated

from pydantic import AfterValidator


def like(pattern: str, how: str) -> AfterValidator:
    """A text that the whole pattern matches; `how` says what is wrong otherwise."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(how)
        return value

    return AfterValidator(check)


HttpUrl = Annotated[str, like(r"(https?://\S+)?", "begins with http:// or https://")]
"""An address, or empty."""
