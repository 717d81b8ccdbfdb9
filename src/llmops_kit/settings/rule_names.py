"""The rules for stacks, which a stack may accept to violate; llmops_kit.policies judges by them."""

RULES = {
    "no-public-store": "nothing that holds data or images can be read without credentials",
    "tls-only": "nothing that holds data answers without TLS",
    "encrypted": "data at rest is encrypted, on AWS with a key of the account, which is rotated",
    "no-wildcard-principal": "no policy allows everybody, and services act for this account alone",
    "no-shared-secret": "access is by roles and short-lived tokens, never by a key or password that stays valid",
    "least-privilege": "no role has every action of a service, the right to give rights, or S3's of any account",
    "boundary": "every role carries the permissions boundary",
    "endpoint-isolated": "endpoints and jobs reach what they need, and not the Internet",
    "data-protected": "what outlives a stack is not deleted with it, and what was overwritten can be brought back",
    "retention-set": "logs and files of runs expire when the settings say",
}
"""Rule -> what it keeps."""
