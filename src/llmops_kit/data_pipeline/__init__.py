"""Preparation: from collected files to a dataset version.

It depends on core and on the light modules of training that define rows. `python -m llmops_kit.data_pipeline` runs in
its own image; recipes without `data.prepare` don't need it: their rows are prepared in the caller's process.
"""
