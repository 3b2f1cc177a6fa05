"""What people, models, pods and faults may try: each kind of attack by its number, and more of the like."""
