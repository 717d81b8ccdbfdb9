"""Where the kit's packages are: in one folder where it is installed, in several portions of the namespace in a
checkout.

Standard library only.
"""

import os
from pathlib import Path

import llmops_kit


def package_folder(name: str) -> Path:
    """Returns the folder of a package below llmops_kit, such as `training`.

    Raises:
        FileNotFoundError: it is not installed here.
    """
    for portion in llmops_kit.__path__:
        if (Path(portion, name) / "__init__.py").is_file():  # a folder of data may have the same name
            return Path(portion, name).resolve()
    raise FileNotFoundError(f"llmops_kit.{name}")


def import_path() -> str:
    """Returns the value of PYTHONPATH by which another process imports the packages that this one has."""
    return os.pathsep.join(str(Path(portion).resolve().parent) for portion in llmops_kit.__path__)
