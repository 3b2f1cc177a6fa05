"""Messages, replies, forms and sentences: the same for every chat platform."""
