"""Checks an endpoint's `limits` for platforms that authenticate callers before its servers."""

from collections.abc import Iterator

from llmops_kit.settings.stack_settings import ServerLimits

_FILES = ("api_keys_file", "metrics_key_file")


def refused_limits(
    limits: ServerLimits, platform: str, seconds: float, stream_seconds: float
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yields path below the endpoint's key, problem and fix of each limit that a platform can't honour.

    Args:
        limits: the endpoint's.
        platform: its name in words.
        seconds: longest time for an answer, below the platform's own time-out.
        stream_seconds: longest time for a stream.
    """
    for field in _FILES:
        if getattr(limits, field):
            what = f"{platform} authenticates callers itself, and mounts no file of keys for the server"
            yield ("limits", field), what, "remove it"
    if limits.memory_mb:
        what = f"{platform} gives a server the memory of its instance"
        yield ("limits", "memory_mb"), what, "remove it, and choose another `size.instance_type`"
    for field, most in (("request_seconds", seconds), ("stream_seconds", stream_seconds)):
        if field in limits.model_fields_set and (given := getattr(limits, field)) > most:
            what = f"{platform} gives up before {given:g} s are over, while the server would continue to generate"
            yield ("limits", field), what, f"write {most:g} or less"
