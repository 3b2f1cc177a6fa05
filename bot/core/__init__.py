"""The rules that only think, and the ports."""
