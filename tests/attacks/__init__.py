"""What people, models, pods and faults may try, and what must hold all the same."""
