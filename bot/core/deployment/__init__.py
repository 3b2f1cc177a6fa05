"""A deployed model: what runs, what is remembered of it, what it is doing, and its card."""
