"""Exports trained versions to trackers: MLflow, TensorBoard."""
