"""How much models are used, and what happens to those that are not."""
