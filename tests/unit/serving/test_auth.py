"""Who may ask."""

import hmac
from pathlib import Path

import pytest

from contract.api_key import is_authorized, key_digest
from serving.auth import Authentication
from serving.errors import ApiError
from serving.settings import ServerSettings

KEY = "0123456789abcdef"


def authentication(**fields) -> Authentication:
    return Authentication(ServerSettings(model=Path(), public_key="", api_key=KEY, **fields))


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"Bearer  {KEY} "])
def test_the_key_passes(header: str) -> None:
    authentication().check(header)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer \udce9"]
)
def test_everything_else_is_401_without_the_key_in_words(header: str) -> None:
    with pytest.raises(ApiError) as caught:
        authentication().check(header)
    assert caught.value.status == 401
    assert KEY not in str(caught.value.body)


def test_an_empty_key_never_passes() -> None:
    with pytest.raises(ApiError):
        authentication().check("Bearer ")


def test_a_platform_has_authenticated_already() -> None:
    authentication(auth="platform", platform="sagemaker").check("")


@pytest.mark.cve("constant-time-key")
@pytest.mark.parametrize("header", [f"Bearer {KEY}", "Bearer ", "", f"Basic {KEY}", "Bearer 0" + "x" * 10_000])
def test_keys_are_compared_in_constant_time(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests, which have one length, by hmac's comparison, and all of them whatever the first ones gave."""
    compared: list[tuple[str, str]] = []
    compare = hmac.compare_digest

    def watched(given: str, expected: str) -> bool:
        compared.append((given, expected))
        return compare(given, expected)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    digests = [key_digest(KEY), key_digest("another key"), key_digest(KEY)]
    assert is_authorized(header, digests) == (header == f"Bearer {KEY}")
    assert [expected for _, expected in compared] == digests
    assert {len(given) for given, _ in compared} == {64}
