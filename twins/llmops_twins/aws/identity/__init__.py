"""IAM: principals, roles and policies, which judges and services read."""
