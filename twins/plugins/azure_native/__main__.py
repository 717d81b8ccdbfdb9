"""`python -m twins.plugins.azure_native [--twin URL] [--port N] [--port-file F]`: serve the stand-in, and print its
port."""

from twins.plugins.azure_native.provider import AzureNativeProvider
from twins.plugins.running import run

if __name__ == "__main__":
    run("twins.plugins.azure_native", AzureNativeProvider)
