"""How each type becomes calls: one module a service. A new type is an entry in its module's KINDS."""

import functools
import importlib

from twins.plugins.aws.kinds import Kind

MODULES = {
    "appautoscaling": "appautoscaling",
    "budgets": "budgets",
    "cloudwatch": "cloudwatch",
    "ec2": "ec2",
    "ecr": "ecr",
    "iam": "iam",
    "kms": "kms",
    "s3": "s3",
    "sagemaker": "sagemaker",
    "scheduler": "scheduler",
    "secretsmanager": "secretsmanager",
    "sns": "sns",
    "sqs": "sqs",
    "ssm": "ssm",
    "vpc": "ec2",
}
"""Module of a Pulumi type token -> module here."""


@functools.cache
def kind_of(token: str) -> Kind:
    """A type's kind.

    Raises:
        KeyError: nobody declared it.
    """
    module = importlib.import_module(f"{__name__}.{MODULES[token.split(':')[1].split('/')[0]]}")
    return {kind.token: kind for kind in module.KINDS}[token]
