"""The target `aws`: SageMaker and what it stands on, by pulumi-aws."""
