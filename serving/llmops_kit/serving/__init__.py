"""The serving image: an OpenAI-compatible server that also answers the contracts of SageMaker and Azure ML.

Imports core only. `python -m llmops_kit.serving serve` starts it; `llmops_kit.serving.server` describes the startup
sequence.
"""
