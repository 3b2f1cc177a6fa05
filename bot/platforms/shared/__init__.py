"""What the chat platforms have in common."""
