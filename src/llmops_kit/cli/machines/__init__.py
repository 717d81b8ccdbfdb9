"""The clouds' machines: their GPUs and their prices."""
