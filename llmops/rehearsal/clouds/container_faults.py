"""Faults of machines and containers, which every cloud's twin has; only how a cloud words them differs."""

from llmops.rehearsal.fault_case import FaultCase

_ANOTHER_TYPE = "another `size.instance_type`, or later the same: `llmops up`, which removes what failed and goes on"
_MENDED = "then `llmops up`, which removes what failed"


def container_cases(*, no_machine: str, silent: str, ended: str, cut: str) -> tuple[FaultCase, ...]:
    """The cases of a cloud.

    Args:
        no_machine: what there is none of, in words.
        silent: what a refusal says of a container that never answers.
        ended: of one that ends at once.
        cut: of a stream that is cut off.
    """
    return (
        FaultCase(
            "spot_reclaim",
            "spot_reclaim",
            "train",
            "the job's machine is taken away a second time, before its first checkpoint",
            "recovered",
            {"job": "*", "after_seconds": 3, "times": 1},
        ),
        FaultCase(
            "capacity",
            "capacity",
            "serve",
            f"there is no {no_machine}",
            "refused",
            {"instance_type": "*"},
            says="capacity",
            way_out=_ANOTHER_TYPE,
        ),
        FaultCase(
            "slow_start",
            "slow_start",
            "serve",
            "containers answer only five seconds after their start",
            "recovered",
            {"image": "*", "seconds": 5},
        ),
        FaultCase(
            "silent",
            "silent",
            "serve",
            "containers never answer",
            "refused",
            {"image": "*"},
            says=silent,
            way_out=f"mend the image, or give it more `start_seconds`; {_MENDED}",
        ),
        FaultCase(
            "bad_image",
            "bad_image",
            "serve",
            "containers end at once",
            "refused",
            {"image": "*"},
            says=ended,
            way_out=f"mend the image (`llmops logs` has its last words); {_MENDED}",
        ),
        FaultCase(
            "crash",
            "crash",
            "invoke",
            "the endpoint's container is killed; it is started anew, and clients try again meanwhile",
            "recovered",
            {"name": "*assistant*", "times": 1},
            meanwhile="no instance of",
        ),
        FaultCase(
            "cut_stream",
            "cut_stream",
            "invoke",
            "a streamed answer loses its connection after 100 bytes",
            "refused",
            {"endpoint": "*", "after_bytes": 100, "times": 1},
            says=cut,
            way_out="ask again",
        ),
    )
