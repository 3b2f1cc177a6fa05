"""One folder per chat platform: `adapter.py` listens and posts, `render.py` draws a Reply."""
