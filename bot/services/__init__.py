"""The rules that act."""
