"""Where the tokens of sequences lie in a row that they share."""

import numpy as np

from llmops_kit.training.data.layouts import joined_layout, joined_width, packed_layout

TEXTS = [
    np.array(tokens, np.int32)
    for tokens in ([1, 2, 3, 7], [1, 2, 3, 4, 5], [9], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], [1, 2])
]


def test_beginnings_are_there_once() -> None:
    laid = joined_layout(TEXTS, 0)
    assert laid.ids.tolist() == [[1, 2, 3, 4, 5, 5, 6, 7, 9]]  # of equal ones, the second keeps a last token of its own
    assert laid.positions.tolist() == [[0, 1, 2, 3, 4, 4, 5, 3, 0]]
    assert joined_width(TEXTS) == 9
    for text, places in zip(TEXTS, laid.places, strict=True):
        assert laid.ids[0, places].tolist() == text.tolist()
        assert laid.positions[0, places].tolist() == list(range(len(text)))


def test_members_are_in_the_rows_order() -> None:
    members = joined_layout(TEXTS, 0).members()
    ends = [int(np.flatnonzero(member)[-1]) for member in members]
    assert ends == sorted(ends)
    assert members.sum() == sum(map(len, TEXTS))


def test_without_sequences_a_row_of_padding_is_left() -> None:
    for laid in (joined_layout([], 8), packed_layout([], 16, 8)):
        assert (laid.ids.tolist(), laid.positions.tolist(), laid.places) == ([[8]], [[0]], [])
        assert laid.members().tolist() == [[1]]
    assert joined_width([]) == 1


def test_packed_rows_hold_whole_sequences() -> None:
    laid = packed_layout([np.array(text, np.int32) for text in ([1, 2], [3, 4, 5], [6])], 4, 0)
    assert laid.ids.tolist() == [[3, 4, 5, 6], [1, 2, 0, 0]]
    assert laid.positions.tolist() == [[0, 1, 2, 0], [0, 1, 0, 1]]
    assert [places.tolist() for places in laid.places] == [[4, 5], [0, 1, 2], [3]]
