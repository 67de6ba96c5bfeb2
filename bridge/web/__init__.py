"""The web side: bytes in, flow, bytes out. Knows HTTP, authentication and nothing of how things are decided."""
