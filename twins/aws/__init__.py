"""A stand-in for an AWS account: moto's server, with SageMaker and all else that the kit uses made true to AWS."""
