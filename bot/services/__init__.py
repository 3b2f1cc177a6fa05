"""What the bot does when somebody asks, and in the background."""
