"""Candidate pairs and their similarity, against the plain definitions of both."""

import random
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from llmops_kit.data_pipeline.near_duplicates import candidates
from llmops_kit.data_pipeline.shingles import hashes_of, parts, similarities


def jaccard(first: str, second: str, size: int) -> float:
    one, other = (
        {tuple(words[at : at + size]) for at in range(max(1, len(words) - size + 1))}
        for words in (first.split(" "), second.split(" "))
    )
    return len(one & other) / len(one | other)


def drawn_pairs(vocabulary: int, longest: int) -> list[tuple[str, str]]:
    draw = random.Random(vocabulary)
    texts = [[str(draw.randrange(vocabulary)) for _ in range(draw.randint(1, longest))] for _ in range(600)]
    edited = [[*text[: draw.randint(0, len(text))], *draw.choice(texts)[: draw.randint(1, 3)]] for text in texts]
    others = [draw.choice((text, edited[at], draw.choice(texts))) for at, text in enumerate(texts)]
    return [(" ".join(text), " ".join(other)) for text, other in zip(texts, others, strict=True)]


@pytest.mark.parametrize(("vocabulary", "longest"), [(2, 12), (9, 40), (2000, 120)])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_similarities_are_the_share_of_runs_that_both_texts_have(
    vocabulary: int, longest: int, kind: pa.DataType
) -> None:
    pairs = drawn_pairs(vocabulary, longest)
    first, second = (pa.array(texts, kind) for texts in zip(*pairs, strict=True))
    wanted = [jaccard(*pair, 5) for pair in pairs]
    assert similarities(first, second, 5).tolist() == wanted
    assert {0, 1} < set(wanted)
    assert len(set(wanted)) > 10


def test_no_pairs_have_no_similarities() -> None:
    assert not len(similarities(pa.array([], pa.string()), pa.array([], pa.string()), 5))


def test_members_of_a_bucket_are_paired_with_its_first_and_the_one_before_them() -> None:
    draw = random.Random(3)
    keys = np.array([[draw.randrange(200) for _ in range(4)] for _ in range(300)], dtype=np.uint64)
    numbers = np.arange(300) * 7
    wanted = set()
    for band in range(4):
        for key in set(keys[:, band].tolist()):
            members = [number for number, row in zip(numbers.tolist(), keys.tolist(), strict=True) if row[band] == key]
            wanted |= set(pairwise(members)) | {(members[0], each) for each in members[1:]}
    assert [tuple(pair) for pair in candidates(numbers, keys).tolist()] == sorted(wanted)
    assert len(wanted) > 100


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_rows_without_equal_keys_are_no_candidates(rows: int) -> None:
    keys = np.arange(rows * 4, dtype=np.uint64).reshape(rows, 4)
    assert candidates(np.arange(rows), keys).shape == (0, 2)


def test_long_texts_are_compared_few_at_a_time() -> None:
    sizes = [10, 10, 600_000, 600_000, 3_000_000, 10, 10]
    texts = pa.array(["a" * size for size in sizes]), pa.array(["b" * 10 for _ in sizes])
    found = [range(len(sizes))[part] for part in parts(*texts)]
    assert [at for part in found for at in part] == list(range(len(sizes)))
    assert [list(part) for part in found] == [[0, 1, 2], [3], [4, 5, 6]]


def test_runs_have_equal_hashes_in_every_call_and_short_texts_have_none() -> None:
    texts = [text for pair in drawn_pairs(9, 40) for text in pair]
    numbers: dict[tuple[str, ...], int] = {}
    for some in (texts[:700], texts[700:]):
        hashes, counts = hashes_of(pa.array(some), 13)
        runs = [tuple(words[at : at + 13]) for words in map(str.split, some) for at in range(len(words) - 12)]
        assert counts.tolist() == [max(0, len(text.split()) - 12) for text in some]
        assert all(numbers.setdefault(run, number) == number for run, number in zip(runs, hashes.tolist(), strict=True))
    assert len(set(numbers.values())) == len(numbers) > 1000
