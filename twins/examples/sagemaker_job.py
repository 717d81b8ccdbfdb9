"""The script under test: trains on SageMaker with plain boto3. It knows nothing of the twin."""

import io
import json
import tarfile
from typing import Any

import boto3


def train(bucket: str, role: str, image: str, csv: bytes) -> dict[str, Any]:
    """Uploads the data, runs a training job, and returns its model."""
    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    s3.put_object(Bucket=bucket, Key="data/rows.csv", Body=csv)
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/data/"}
    sagemaker.create_training_job(
        TrainingJobName="line",
        RoleArn=role,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/models/"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )
    waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName="line", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    archive = s3.get_object(Bucket=bucket, Key="models/line/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        model = files.extractfile("model.json")
        assert model
        return json.load(model)
