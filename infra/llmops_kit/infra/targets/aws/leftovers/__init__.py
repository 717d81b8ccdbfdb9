"""Removes what an interrupted update left on AWS, before it is created again."""
