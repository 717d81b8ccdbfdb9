"""The target `aws`: SageMaker and the resources that it depends on, by pulumi-aws."""
