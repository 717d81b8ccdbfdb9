"""Judge published folders without their weights, as `python -m llmops_kit.training check` does. Prints JSON; run in the
training image.

python judged.py FOLDERS MACHINES
    -> {folder: ModelCheck}
"""

import json
import sys
from pathlib import Path

from llmops_kit.training.process import prepare_process

prepare_process()

from llmops_kit.core.documents.model_check import CheckRequest  # noqa: E402
from llmops_kit.training.import_check import check_import  # noqa: E402


def main(folders: Path, request: CheckRequest) -> None:
    found = {path.name: check_import(path, request).model_dump() for path in sorted(folders.iterdir())}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), CheckRequest.model_validate_json(sys.argv[2]))
