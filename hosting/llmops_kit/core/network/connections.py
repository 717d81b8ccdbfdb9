"""Limits on a server's connections and their silence. Imports nothing, because servers read it first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one server. Clients behind a proxy share its address, hence the high limit per address."""

    header_seconds: float = 10.0
    """Seconds until a request's headers are complete."""
    write_seconds: float = 10.0
    """Seconds until a client that stopped reading its answer must continue."""
    connections: int = 2048
    """Further ones are answered 503 and closed."""
    connections_per_address: int = 1024
    """Further ones are answered 429 and closed. A /64 network of IPv6, as one client gets, counts as one address."""
