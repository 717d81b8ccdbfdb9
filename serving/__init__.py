"""The serving image: an OpenAI-compatible server that also answers the contracts of SageMaker and Azure ML.

Imports contract only. `python -m serving serve` starts it; `serving.server` describes the startup sequence.
"""
