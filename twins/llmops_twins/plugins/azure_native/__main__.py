"""`python -m llmops_twins.plugins.azure_native [--twin URL] [--port N] [--port-file F]`: serve the stand-in, and print
its port."""

from llmops_twins.plugins.azure_native.provider import AzureNativeProvider
from llmops_twins.plugins.running import run

if __name__ == "__main__":
    run("llmops_twins.plugins.azure_native", AzureNativeProvider)
