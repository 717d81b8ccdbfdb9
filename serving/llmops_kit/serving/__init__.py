"""The serving image: an OpenAI-compatible server that also answers the contracts of SageMaker and Azure ML.

Imports only core from the kit. `python -m llmops_kit.serving serve` starts it; `llmops_kit.serving.server` describes
the startup sequence.
"""
