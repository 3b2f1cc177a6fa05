"""Mattermost, all of it."""
