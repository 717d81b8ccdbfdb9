"""Sends files from one rank to another: first a list with sizes and hashes, then the bytes, in pieces.

Received data is checked: names must be paths within a folder, the list's length is bounded, and each file must have the
announced hash. Nothing is unpickled.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from llmops_kit.core.document import Part
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.names import Sha256
from llmops_kit.core.object_keys import Key

PassOn = Callable[[Any], object]
"""Sends a CPU tensor, or fills it with the other rank's; both call it with the same shapes, in the same order."""
_PIECE = 32 << 20  # bytes
_LONGEST_LIST = 4 << 20  # bytes
_SENDER = "another rank of this job"
_FIX = "start the run again: it resumes from its last checkpoint"


class SentFile(Part):
    """Hash and size that the receiver checks a file against."""

    sha256: Sha256
    size: int = Field(ge=0, description="Bytes.")


class FileList(Part):
    """The announcement of a folder's files, by their paths in it."""

    folder: Key
    files: dict[Key, SentFile]


def give(folder: Path, names: Iterable[str], pass_on: PassOn) -> None:
    """Sends files of a folder, and the folder's own name."""
    import torch

    files = {n: SentFile(sha256=sha256_file(folder / n), size=(folder / n).stat().st_size) for n in names}
    content = FileList(folder=folder.name, files=files).model_dump_json().encode()
    pass_on(torch.tensor([len(content)]))
    pass_on(_tensor(content))
    for name, entry in files.items():
        with (folder / name).open("rb") as file:
            for length in _pieces(entry.size):
                pass_on(_tensor(file.read(length)))


def give_nothing(pass_on: PassOn) -> None:
    """Sends that there is nothing to send."""
    import torch

    pass_on(torch.tensor([0]))


def take(parent: Path, pass_on: PassOn, is_expected: Callable[[FileList], bool]) -> Path | None:
    """Receives the files that `give` sends.

    Args:
        parent: receives a folder of the sender's name, unless it exists.
        pass_on: fills a tensor.
        is_expected: returns whether this is the expected list.

    Returns:
        The folder; None if the sender has nothing.

    Raises:
        IntegrityError: the list is unexpected, or a file did not arrive as announced; it is not kept.
    """
    import torch

    length = torch.zeros(1, dtype=torch.int64)
    pass_on(length)
    if not (size := int(length.item())):
        return None
    if not 0 < size <= _LONGEST_LIST:
        raise IntegrityError(f"sends a list of {size} bytes", where=_SENDER, fix=_FIX)
    try:
        listed = FileList.model_validate_json(_received(size, pass_on))
    except ValidationError as e:
        raise IntegrityError("sends no list of files", where=_SENDER, fix=_FIX) from e
    if not is_expected(listed):
        raise IntegrityError(f"sends unexpected files: {', '.join(listed.files):.200}", where=_SENDER, fix=_FIX)
    for name, entry in listed.files.items():
        _take_file(parent / listed.folder / name, entry, pass_on)
    return parent / listed.folder


def _take_file(path: Path, entry: SentFile, pass_on: PassOn) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for length in _pieces(entry.size):
            piece = _received(length, pass_on)
            digest.update(piece)
            file.write(piece)
    if digest.hexdigest() != entry.sha256:
        path.unlink()
        raise IntegrityError("did not arrive as it was sent: its sha256 differs", where=str(path), fix=_FIX)


def _received(length: int, pass_on: PassOn) -> bytes:
    import torch

    piece = torch.empty(length, dtype=torch.uint8)
    pass_on(piece)
    return piece.numpy().tobytes()


def _tensor(content: bytes) -> Any:
    import torch

    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _pieces(size: int) -> Iterator[int]:
    return (min(_PIECE, size - start) for start in range(0, size, _PIECE))
