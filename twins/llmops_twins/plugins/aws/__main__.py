"""`python -m llmops_twins.plugins.aws [--twin URL] [--port N] [--port-file F]`: serves the stand-in.

Prints its port.
"""

from llmops_twins.plugins.aws.provider import AwsProvider
from llmops_twins.plugins.running import run

if __name__ == "__main__":
    run("llmops_twins.plugins.aws", AwsProvider)
