"""The other image of the same server."""

from pathlib import Path

from llmops_kit.cli.rehearsal.smoke.image import other_source
from llmops_kit.local_runtime.process_images import ImageSource


def test_the_other_image_has_one_file_more(tmp_path: Path) -> None:
    own, other = ImageSource.of_kit("serving").files(), other_source(tmp_path).files()
    assert set(other) - set(own) == {"app/llmops_kit/serving/smoke.txt"}
    assert {path: file.read_bytes() for path, file in own.items()} == {
        path: file.read_bytes() for path, file in other.items() if path in own
    }
