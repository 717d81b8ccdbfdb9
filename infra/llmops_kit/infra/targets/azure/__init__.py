"""The target `azure`: Azure Machine Learning and what it stands on, by pulumi-azure-native."""
