"""How many connections a server takes, and how long they may be silent. Imports nothing: servers read it first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ConnectionLimits:
    """How much one server takes. Clients behind a proxy share its address, hence a generous share for each."""

    header_seconds: float = 10.0
    """For a request's headers to come."""
    write_seconds: float = 10.0
    """For a client that stopped reading its answer to go on."""
    connections: int = 2048
    """One more is answered 503 and closed."""
    connections_per_address: int = 1024
    """One more is answered 429 and closed. An IPv6 network of 64 bits, which one client is given, is one address."""
