"""How a typed line becomes a command: fields, parsing, suggestions, forms."""
