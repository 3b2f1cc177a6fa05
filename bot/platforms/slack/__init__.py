"""Slack: Bolt over Socket Mode or HTTP."""
