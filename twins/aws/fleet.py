"""The containers of a twin's endpoints: who serves, who takes the next request, and what is counted of it."""

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twins.aws.twin import Twin


class NoWorkerError(Exception):
    """No instance of an endpoint, or of the variant that was asked for, can take a request now; the text says why."""


class Lease:
    """One request's hold on an instance: `with fleet.lease(arn) as lease:`. The instance ends after its leases only.

    Where to send it: `host`, `port`. Who answers: `variant`, `instance` ("i-…"), `image`, `log_stream`.
    """

    host: str = "127.0.0.1"
    port: int = 0
    variant: str = ""
    instance: str = ""
    image: str = ""
    log_stream: str = ""

    def done(
        self, status: int, model_seconds: float, overhead_seconds: float, first_byte_seconds: float | None = None
    ) -> None:
        """Count the answer in CloudWatch; a status of 5xx (0: the connection was lost) has the instance looked at."""
        raise NotImplementedError

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        raise NotImplementedError


class Fleet:
    """All containers of a twin's endpoints. Safe in any thread; never waits with the twin's lock held."""

    def __init__(self, twin: "Twin") -> None:
        self._twin = twin

    def lease(self, endpoint_arn: str, *, variant: str = "", streams: bool = False) -> Lease:
        """An instance for the next request of an endpoint; call it without the twin's lock.

        Args:
            endpoint_arn: as the endpoint's document has it.
            variant: TargetVariant of the request; empty: by the weights.
            streams: whether the answer is a stream: it may last longer when the instance is to end.

        Raises:
            NoWorkerError: nobody can take it.
        """
        raise NoWorkerError(f"no instance of {endpoint_arn} is in service")
