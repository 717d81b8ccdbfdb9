"""The data formats, by file name extension. Imports no reader."""

from llmops_kit.core.errors import DataError
from llmops_kit.core.validation import did_you_mean

LINES = "jsons:read_lines_of_json"
"""The reader of files whose lines are rows."""
_READERS = {
    ".capture.jsonl": "captures:read_captures",
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".json": "jsons:read_array",
    ".csv": "tables:read_csv",
    ".tsv": "tables:read_tsv",
    ".parquet": "tables:read_parquet",
    ".txt": "documents:read_text",
    ".md": "documents:read_text",
    ".markdown": "documents:read_text",
    ".html": "documents:read_html",
    ".htm": "documents:read_html",
    ".po": "catalogues:read_po",
    ".mo": "catalogues:read_mo",
}
_NAMED = {"bfcl": "bfcl:read_bfcl"}
COMPRESSIONS = (".gz", ".zst")
"""Extensions that follow a format's, as in rows.jsonl.gz."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst")
_RANDOM_ACCESS = (".parquet",)  # compressed inside; a packed one would have to be unpacked whole
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz")


def format_of(name: str) -> str:
    """Returns the format's extension of a file name, such as `.jsonl` of `rows.jsonl.gz`; empty if it is unknown."""
    plain = name.lower()
    packed = next((each for each in COMPRESSIONS if plain.endswith(each)), "")
    plain = plain.removesuffix(packed)
    found = next((each for each in _READERS if plain.endswith(each)), "")
    return "" if packed and found in _RANDOM_ACCESS else found


def is_archive(name: str) -> bool:
    """Returns whether a file is an archive, by its name."""
    return name.lower().endswith(ARCHIVES)


def reader_of(name: str, form: str = "") -> str:
    """Returns a format's reader as `module:function` in this folder; empty if it is unknown.

    Args:
        form: the format that the source names; empty: the end of the file's name decides.
    """
    return _NAMED[form] if form else _READERS.get(format_of(name), "")


def unknown_format(name: str, where: str) -> DataError:
    """Returns the error for a file that was requested by name, and whose format has no reader."""
    end = f".{name.rpartition('/')[2].rpartition('.')[2]}".lower()
    if end in _PICKLES:
        what = f"{end} may hold a pickle, which executes what its writer chose: it is never read"
        return DataError(what, where=where, fix="export the rows as Parquet or JSON lines")
    known = ", ".join(_READERS)
    meant = did_you_mean(end, _READERS)
    fix = f"{meant} known formats: {known}; each but .parquet also with .gz or .zst; archives: {', '.join(ARCHIVES)}"
    return DataError(f"has an unknown format: {end}", where=where, fix=fix.strip())
