"""A training job's outputs in S3: model, output data, and checkpoints while it runs.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_OutputDataConfig.html
https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from llmops_twins.aws import s3_objects
from llmops_twins.aws.calls import AwsApiError
from llmops_twins.aws.s3_objects import S3Location
from llmops_twins.aws.sagemaker import access
from llmops_twins.aws.sagemaker.jobs.folders import DATA, MODEL, JobInstance, checkpoints_path
from llmops_twins.aws.service_documents import Document
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.jobs.job_files import Carrier, files

_QUICKEST = 1  # gzip's fastest level


class Outputs:
    """Writes the outputs of one attempt of a job, under the job's role.

    Its methods raise AwsApiError if the role lacks a permission, or S3 refuses.
    """

    def __init__(self, twin: AccountTwin, job: Document, nodes: list[JobInstance]) -> None:
        self._twin = twin
        self._job = job
        self._nodes = nodes
        self._checkpoints = list(self._carriers())

    def save_checkpoints(self, *, last: bool = False) -> None:
        """Copies new files of the checkpoint folders (`Carrier.carry`)."""
        for carrier in self._checkpoints:
            carrier.carry(last=last)

    def save_restored(self) -> None:
        """Marks the present files of the checkpoint folders as stored."""
        for carrier in self._checkpoints:
            carrier.know()

    def save_model(self) -> str:
        """Uploads the model, and returns the URI of its archive or prefix."""
        return self._save(MODEL, "model", "model.tar.gz")

    def save_data(self) -> None:
        """Uploads the output data, if there is any."""
        self._save(DATA, "data", "output.tar.gz")

    def _save(self, folder: str, name: str, archive: str) -> str:
        output = self._job["OutputDataConfig"]
        key_id = output.get("KmsKeyId", "")
        place = S3Location.of(output["S3OutputPath"]).below(f"{self._job['TrainingJobName']}/output")
        found: dict[str, Path] = {}
        for node in self._nodes:  # of files with the same path, the first host's is kept
            top = node.root / folder
            found = {file.relative_to(top).as_posix(): file for file in files(top)} | found
        if not found and folder == DATA:
            return ""
        if output.get("CompressionType") == "NONE":
            # Links first, because their targets are moved away.
            for path, file in sorted(found.items(), key=lambda item: (not item[1].is_symlink(), item[0])):
                self._put(file, place.below(f"{name}/{path}"), key_id, move=True)
            return place.below(f"{name}/").uri
        packed = self._nodes[0].root / archive
        with tarfile.open(packed, "w:gz", compresslevel=_QUICKEST, dereference=True) as tar:
            for path, file in sorted(found.items()):
                tar.add(file, path)
        self._put(packed, place.below(archive), key_id, move=True)
        return place.below(archive).uri

    def _carriers(self) -> Iterator[Carrier]:
        if path := checkpoints_path(self._job):
            place = S3Location.of(self._job["CheckpointConfig"]["S3Uri"])
            for node in self._nodes:
                yield Carrier(node.root / path.lstrip("/"), lambda file, name: self._put(file, place.below(name), ""))

    def _put(self, file: Path, place: S3Location, key_id: str, *, move: bool = False) -> None:
        with self._twin.lock:
            reason = access.denied_upload(self._twin, self._job, place.uri, key_id)
        if reason:
            raise AwsApiError("AccessDenied", reason)
        s3_objects.upload(self._twin, file, place, key_id, move=move and not file.is_symlink())
