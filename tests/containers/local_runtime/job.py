"""What the image of test_jobs.py runs: the code in variable CODE."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

__all__ = ["Path", "signal", "socket", "sys", "time"]

exec(os.environ["CODE"])
