"""Model data of a container: S3's objects as files in a folder, hard-linked if they are files already."""

import tempfile
from pathlib import Path

from llmops_kit.core.errors import KitError
from llmops_kit.core.integrity.archives import extract
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.fleet.cloud import ModelDataError
from llmops_twins.core.fleet.plan import ModelDataSource


def fetch(twin: AccountTwin, source: ModelDataSource, target: Path) -> None:
    """Fetches model data into a folder, without holding it in memory. Call without the twin's lock.

    Raises:
        ModelDataError: the object does not exist or can't be read, or an archive can't be unpacked.
    """
    from llmops_twins.aws import s3_objects
    from llmops_twins.aws.calls import AwsApiError

    place = s3_objects.S3Location.of(source.uri)
    try:
        there = s3_objects.found_below(twin, place)
        if not there:
            # unsure (60 %): no source found for the words of a download that fails; that it fails is documented
            # (https://docs.aws.amazon.com/sagemaker/latest/dg/large-model-inference-uncompressed.html)
            raise ModelDataError(f"there is not an object at {source.uri}")
        for key, path in there:
            if source.archive:
                with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=target.parent) as work:
                    packed, content = Path(work, "archive"), Path(work, "content")
                    s3_objects.link(twin, place.bucket, key, packed)
                    extract(packed, content)
                    _move(content, (target / path).parent)
            else:
                s3_objects.link(twin, place.bucket, key, target / path)
    except KitError as e:
        # the twin's own: an archive or a key that can't be a file here
        raise ModelDataError(f"{source.uri}: {e.what}") from e
    except (AwsApiError, OSError) as e:
        # the twin's own: its disk, or its S3
        raise ModelDataError(f"{source.uri}: {e}") from e


def _move(content: Path, folder: Path) -> None:
    """Moves unpacked files into the model's folder.

    Raises:
        ModelDataError: two archives hold an entry of the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for each in content.iterdir():
        if (folder / each.name).exists():
            # unsure (60 %): of uncompressed models ambiguous names are documented to fail the deployment
            # (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3ModelDataSource.html)
            raise ModelDataError(f"two archives hold {each.name}")
        each.rename(folder / each.name)
