"""The target `azure`: Azure Machine Learning and the resources that it depends on, by pulumi-azure-native."""
