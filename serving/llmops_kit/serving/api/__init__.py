"""Requests and answers of the contracts: OpenAI, SageMaker, Azure ML."""
