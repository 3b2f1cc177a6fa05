"""Chat servers that speak the wire protocol and misbehave on demand."""
