"""What all unit tests of the twins share."""

from tests.support.memory import keep_files_in_memory

keep_files_in_memory()
