"""`python -m twins.providers.azure_native [--twin URL] [--port N] [--port-file F]`: serve the stand-in, and print its
port."""

from twins.providers.azure_native.provider import AzureNativeProvider
from twins.providers.running import run

if __name__ == "__main__":
    run("twins.providers.azure_native", AzureNativeProvider)
