"""What people say and what they are told, the same for every platform."""
