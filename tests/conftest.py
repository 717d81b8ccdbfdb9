"""What all tests share."""

import signal

# A shell starts background jobs with SIGINT ignored, and children inherit that: Ctrl-C could not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
