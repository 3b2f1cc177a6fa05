"""What hostile people, models, pods and servers do, and that the bot bears it: one file for each area."""
