"""How the real parts are made, each from published sources alone."""
