"""Disables core files, so that the memory of processes with keys is never written to disk."""

import resource


def no_core_files() -> None:
    """Disable core files of this process and its children.

    If the system pipes dumps to a program (`|` in /proc/sys/kernel/core_pattern), that program decides:
    systemd-coredump and apport keep none if the limit is 0. https://man7.org/linux/man-pages/man5/core.5.html
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
