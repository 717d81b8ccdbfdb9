"""The golden prompt of a version without evaluation rows, such as an import."""

from llmops_kit.core.documents.model import Golden, Message

ANY_ANSWER = Golden(messages=[Message(role="user", content="What is the capital of France?")], expect=[], max_tokens=16)
