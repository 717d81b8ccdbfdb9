"""Operates a stack on AWS, or on its twin. Only this part of the command line imports boto3."""
