"""Numbers that know their unit, so that a sentence can say them well."""


class Tokens(int):
    """A number of tokens; said as `8k` from 1,024 up."""


class Gib(float):
    """GiB (2**30 bytes); said with one decimal."""
