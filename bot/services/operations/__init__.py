"""Alerts, usage and reports: what admins are told."""
