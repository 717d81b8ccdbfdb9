"""Messages of the hand-over."""

import pytest

from llmops_kit.core.network.handover import HandoverError, Messages, encode


def test_messages_are_found_however_they_are_cut() -> None:
    sent = [({"headers": {"a": "b"}}, b"GET / HTTP/1.1\r\n\r\n"), ({"status": 200}, b""), ({"kept": True}, b"rest")]
    stream = b"".join(encode(head, content) for head, content in sent)
    messages = Messages()
    found = [message for place in range(len(stream)) for message in messages.feed(stream[place : place + 1])]
    assert [(head | {"content": len(content)}, content) for head, content in sent] == found
    assert Messages().feed(stream) == found


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\2[]",
        b"\0\0\0\1{",
        b'\0\0\0\x0d{"content":"1}',
        b'\0\0\0\x0e{"content":-1}',
        b'\0\0\0\x15{"content":1000000000}'[:4] + b'{"content":100000000}',
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(HandoverError):
        Messages().feed(data)
