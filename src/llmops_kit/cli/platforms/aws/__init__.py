"""Operate a stack on AWS, or on its twin. The one place of the command line that imports boto3."""
