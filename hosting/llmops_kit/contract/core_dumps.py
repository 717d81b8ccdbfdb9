"""Core files: the memory of a process that holds keys is written to no disk."""

import resource


def no_core_files() -> None:
    """Let this process, and whatever it starts, write no core file, however it ends.

    Where the system hands dumps to a program (`|` in /proc/sys/kernel/core_pattern), that program decides:
    systemd-coredump and apport keep none where the limit is 0. https://man7.org/linux/man-pages/man5/core.5.html
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
