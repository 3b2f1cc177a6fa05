"""Idle models: the verdict, office hours, the next step of a sweep, and messages to owners."""
