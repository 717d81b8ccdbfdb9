"""Names and descriptions of the rules that llmops_kit.policies checks; a stack may accept violations."""

RULES = {
    "no-public-store": "data and images can't be read without credentials",
    "tls-only": "data is served over TLS only",
    "encrypted": "data at rest is encrypted, on AWS with a key of the account that is rotated",
    "no-wildcard-principal": "no policy allows all principals, and services act for this account only",
    "no-shared-secret": "access uses roles and short-lived tokens, never keys or passwords that stay valid",
    "least-privilege": "no role has all actions of a service, the right to assign roles, or S3 actions in any account",
    "boundary": "every role has the permissions boundary",
    "endpoint-isolated": "endpoints and jobs reach what they need, but not the Internet",
    "data-protected": "data that outlives a stack is not deleted with it, and overwritten data can be restored",
    "retention-set": "logs and files of runs expire as set",
}
"""Rules and their descriptions."""
