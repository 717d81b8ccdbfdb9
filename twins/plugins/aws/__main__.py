"""`python -m twins.plugins.aws [--twin URL] [--port N] [--port-file F]`: serve the stand-in, and print its port."""

from twins.plugins.aws.provider import AwsProvider
from twins.plugins.running import run

if __name__ == "__main__":
    run("twins.plugins.aws", AwsProvider)
