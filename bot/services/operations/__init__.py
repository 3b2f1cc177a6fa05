"""What admins hear: alerts, usage, reports."""
