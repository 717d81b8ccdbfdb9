"""Reads the bytes and lines of a file, unpacked within bounds and decoded without guessing."""

import codecs
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NoReturn

from llmops_kit.core.errors import DataError, require_packages
from llmops_kit.data_pipeline.readers.reader import DataFile

MOST_CHARACTERS = 64 << 20
"""Maximum characters of a line, and of a document that is read whole."""
MOST_BYTES = 1 << 30
"""Maximum bytes of a file of any other format that is read whole."""
_PIECE = 1 << 20
_ZSTD_PIECE = 4 << 10
_SMALL, _RATIO = 16 << 20, 200  # maximum ratio of unpacked to packed bytes, beyond 16 MiB
_GZIP_WINDOW = 31
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def read_bytes(file: DataFile, most: int = MOST_BYTES) -> bytes:
    """Returns the whole content, unpacked.

    Raises:
        DataError: it is damaged, or too large.
    """
    found = bytearray()
    for piece in pieces(file):
        found += piece
        if len(found) > most:
            _refuse(f"has more than {most >> 20} MiB, which this format needs in memory", file.name, "divide it")
    return bytes(found)


def read_whole(file: DataFile, most: int = MOST_CHARACTERS) -> str:
    r"""Returns the whole text, with line ends as `\n`.

    Raises:
        DataError: as `read_lines`.
    """
    found, size = [], 0
    for _, line in read_lines(file):
        found.append(line)
        size += len(line) + 1
        if size > most:
            _refuse(f"has more than {most >> 20} Mi characters", file.name, "divide it")
    return "\n".join(found)


def read_lines(file: DataFile) -> Iterator[tuple[int, str]]:
    r"""Yields number (from 1) and text of each line, without its end. Lines end at `\n` or `\r\n` only.

    Raises:
        DataError: a line is not in its encoding, is not text, or is too long; or the file is damaged.
    """
    number, begun, size = 1, [], 0
    for text in _decoded(file):
        *whole, rest = text.split("\n")
        for line in whole:
            yield number, "".join([*begun, line]).removesuffix("\r")
            number, begun, size = number + 1, [], 0
        begun.append(rest)
        size += len(rest)
        if size > MOST_CHARACTERS:
            _refuse(f"has more than {MOST_CHARACTERS >> 20} Mi characters", f"{file.name}:{number}", "divide it")
    if size:
        yield number, "".join(begun).removesuffix("\r")


def pieces(file: DataFile) -> Iterator[bytes]:
    """Yields the content in pieces, unpacked according to the file's extension.

    Raises:
        DataError: it is damaged, or unpacks to 200 times its size or more.
    """
    left = max(_SMALL, file.path.stat().st_size * _RATIO)
    with file.path.open("rb") as opened, _damage_of(file.name):
        for piece in _unpacked(opened, file.path.suffix.lower()):
            left -= len(piece)
            if left < 0:
                _refuse("is too large when unpacked", file.name, "unpack it yourself, if you trust it")
            yield piece


def _decoded(file: DataFile) -> Iterator[str]:
    """Yields the text in pieces, without a byte-order mark."""
    unpacked = pieces(file)
    first = next(unpacked, b"")
    mark, found = next(((mark, name) for mark, name in _MARKS if first.startswith(mark)), (b"", "utf-8"))
    encoding = _codec(file.encoding, file.name) if file.encoding else found
    decoder = codecs.getincrementaldecoder(encoding)()
    piece: bytes | None = first.removeprefix(mark) if encoding == found else first
    number = 1
    while piece is not None:
        following = next(unpacked, None)
        try:
            text = decoder.decode(piece, final=following is None)
        except UnicodeDecodeError as e:
            number += e.object[: e.start].decode(encoding, errors="replace").count("\n")
            what = f"is not {encoding.upper()} (byte 0x{e.object[e.start]:02x})"
            fix = "convert the file: iconv -f cp1252 -t utf-8 FILE > NEW; spreadsheets save CSV as UTF-8 when asked to"
            _refuse(what, f"{file.name}:{number}", fix)
        if (at := text.find("\0")) >= 0:
            fix = "see whether it is a text; UTF-16 needs a byte-order mark"
            _refuse("holds a NUL: it is not text", f"{file.name}:{number + text.count(chr(10), 0, at)}", fix)
        number += text.count("\n")
        yield text
        piece = following


def _codec(encoding: str, where: str) -> str:
    try:
        "".encode(encoding)  # raises for codecs that don't encode text, such as zlib
        return codecs.lookup(encoding).name
    except LookupError:
        raise DataError(
            f"{encoding!r} is not an encoding", where=where, fix="write one such as utf-8, utf-16 or cp1252"
        ) from None


def _unpacked(opened: BinaryIO, compression: str) -> Iterator[bytes]:
    if compression == ".gz":
        yield from _inflated(opened)
    elif compression == ".zst":
        yield from _unframed(opened)
    else:
        while piece := opened.read(_PIECE):
            yield piece


def _inflated(opened: BinaryIO) -> Iterator[bytes]:
    """Yields the content of one gzip member after the other, as `gzip` itself and log shippers write them."""
    packed = opened.read(_PIECE)
    while packed:
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        while not inflater.eof:
            if piece := inflater.decompress(packed, _PIECE):
                yield piece
            packed = inflater.unconsumed_tail or (b"" if inflater.eof else opened.read(_PIECE))
            if not packed and not piece and not inflater.eof:
                raise EOFError("ends in the middle")
        packed = inflater.unused_data or opened.read(_PIECE)


def _unframed(opened: BinaryIO) -> Iterator[bytes]:
    """Yields the content of one zstd frame after the other. Input is read in small pieces, because each may expand
    30,000 times.
    """
    require_packages("data", "zstandard")
    import zstandard

    # A frame may require a window of 2 GB; `zstd` itself allows 128 MiB without --long.
    unpacker = zstandard.ZstdDecompressor(max_window_size=128 << 20)
    packed = opened.read(_ZSTD_PIECE)
    try:
        while packed:
            frame = unpacker.decompressobj()
            while not frame.eof:
                if not packed:
                    raise EOFError("ends in the middle")
                yield frame.decompress(packed)
                packed = b"" if frame.eof else opened.read(_ZSTD_PIECE)
            packed = frame.unused_data or opened.read(_ZSTD_PIECE)
    except zstandard.ZstdError as e:
        raise EOFError(e) from None


@contextmanager
def _damage_of(name: str) -> Iterator[None]:
    """Turns unpacking errors in the block into errors of the file."""
    try:
        yield
    except (zlib.error, EOFError) as e:
        _refuse(f"is damaged: {e}", name, "fetch it again")


def _refuse(what: str, where: str, fix: str) -> NoReturn:
    raise DataError(what, where=where, fix=fix)
