"""What a training process hides from the libraries that import it for nothing, and shows where it is needed."""

import os
import subprocess

from tests.support.checkout import IMPORT_PATH
from tests.support.tiny_models.models import tiny_source, training_python

_IN_A_JOB = """
import sys
from llmops_kit.training.process import prepare_process
prepare_process()
from transformers import AutoTokenizer, Trainer
from llmops_kit.training.data.chat import _training_source, known_to_trl
assert Trainer and sys.modules["datasets"] is None and "trl" not in sys.modules
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
found = []
for tokenizer.chat_template in sorted(known_to_trl()):
    found.append(_training_source(tokenizer, tokenizer.chat_template))
print(sum(bool(each) for each in found))
"""


def test_trl_is_asked_for_the_templates_that_it_knows() -> None:
    """It can't be imported without `datasets`; and where tests run, it is imported already."""
    done = subprocess.run(
        [training_python(), "-c", _IN_A_JOB, tiny_source()],
        env={**os.environ, "PYTHONPATH": IMPORT_PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 10
