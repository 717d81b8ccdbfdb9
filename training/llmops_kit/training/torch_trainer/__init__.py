"""The trainer of `training.framework: pytorch`: methods, batches, sharding, the estimate of memory."""
