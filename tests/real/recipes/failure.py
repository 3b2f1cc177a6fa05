"""What a recipe cannot mend."""


class RecipeFailed(Exception):
    """A part cannot be made here; the text says what is missing."""
