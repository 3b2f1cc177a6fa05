"""A number that knows its unit, so that a sentence can say it well."""


class Tokens(int):
    """A number of tokens; said as `8k` from 1,024 up."""
