"""Trained versions in the words of trackers: MLflow, TensorBoard."""
