"""What is wrong, and what of it admins were told."""
