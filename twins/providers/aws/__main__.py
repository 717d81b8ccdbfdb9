"""`python -m twins.providers.aws [--twin URL] [--port N] [--port-file F]`: serve the stand-in, and print its port."""

from twins.providers.aws.provider import AwsProvider
from twins.providers.running import run

if __name__ == "__main__":
    run("twins.providers.aws", AwsProvider)
