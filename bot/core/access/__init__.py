"""Roles and quotas."""
