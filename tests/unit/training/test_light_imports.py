"""The command line prepares data in its own process, so these modules need nothing but pydantic."""

import subprocess
import sys

from tests.support.checkout import CHECKOUT


def test_collect_prepare_and_scoring_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import llmops_kit.data_pipeline.prepare, llmops_kit.data_pipeline.readers.reader\n"
        "import llmops_kit.training.data.rows, llmops_kit.training.evaluation.scoring\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'openvino', 'numpy', 'pyarrow', 'trafilatura', 'polib'}\n"
        "heavy &= sys.modules.keys()\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
