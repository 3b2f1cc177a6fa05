"""The start of a model: its card, its progress, its first answer, and why it failed."""
