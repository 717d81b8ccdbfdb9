"""The evaluator of IAM's policies, a program of Node.js."""
