"""A model that somebody asked for: what was asked, how it is, and its card."""
