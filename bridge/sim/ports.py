"""Ports for what is started, stopped, and started again at the same address."""

import random
import socket

_FIRST, _END = (
    20_000,
    32_768,
)  # below those that Linux gives to outgoing connections: it would lend them meanwhile


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now, and that no connection takes by chance."""
    while True:
        port = random.randrange(_FIRST, _END)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
