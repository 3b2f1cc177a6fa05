"""Tools for those who work on the bot; nothing here runs in the service."""
