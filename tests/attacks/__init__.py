"""What people, models and pods may try against the bot, and what comes of it."""
