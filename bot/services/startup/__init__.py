"""What people see while a model starts: its card, its progress, why it failed."""
