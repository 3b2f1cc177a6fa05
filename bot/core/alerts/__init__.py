"""Alerts to admins: what is wrong now, and what they have been told of it."""
