"""Validation errors in plain words, and suggestions."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.names import Name, Sha256
from llmops_kit.core.validation import did_you_mean, first_message, known_keys
from llmops_kit.settings.stack_settings import Settings


class Model(BaseModel, extra="forbid"):
    """One field of each kind."""

    name: Name = "abc"
    sha256: Sha256 = "0" * 64
    word: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    items: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    share: Annotated[float, Field(gt=0, le=1)] = 1
    kind: Literal["one", "two"] = "one"
    inner: BaseModel | None = None
    on: bool = True
    other: Annotated[str, Field(pattern="^x")] = "x"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "No Name", "must be small letters, digits and single dashes, a letter first"),
        ("sha256", "12", "must be 64 hexadecimal digits"),
        ("word", "a", "must have at least 2 characters"),
        ("word", "abcd", "must have at most 3 characters"),
        ("word", 5, "must be text (found 5)"),
        ("items", [], "must have at least 1 items, has 0"),
        ("items", [1, 2, 3], "must have at most 2 items, has 3"),
        ("items", "1", "must be a list"),
        ("items", ["x"], "must be a whole number"),
        ("items", [1.5], "must be a whole number (found 1.5)"),
        ("share", 0, "must be greater than 0.0 (found 0)"),
        ("share", 2, "must be at most 1.0 (found 2)"),
        ("share", "much", "must be a number"),
        ("kind", "three", "must be 'one' or 'two'"),
        ("on", "perhaps", "must be true or false"),
        ("other", "y", "must match the pattern ^x"),
        ("othr", "x", "unknown key"),
    ],
)
def test_messages_are_plain(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({field: value})
    assert first_message(caught.value) == message


@pytest.mark.parametrize("field", ["name", "sha256", "word", "items", "share", "kind", "on", "other", "othr"])
@pytest.mark.parametrize("value", ["hf_pasted", ["hf_pasted"], {"a": "hf_pasted"}])
def test_a_pasted_secret_is_not_repeated(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({field: value})
    assert "hf_pasted" not in first_message(caught.value)


def test_the_closest_name_is_suggested() -> None:
    assert did_you_mean("epoch", ["epochs", "seed"]) == "did you mean epochs?"
    assert did_you_mean("zzz", ["epochs", "seed"]) == ""


def test_keys_are_known_at_any_depth() -> None:
    assert "epochs" in known_keys(Recipe, ("training", "epoch"))
    assert "gain_low" in known_keys(Recipe, ("evaluation", "gate", 0, "gain"))
    assert "model" in known_keys(Settings, ("endpoints", "chat", "modle"))
    assert "schema" in known_keys(Recipe, ("schme",))
    assert known_keys(Recipe, ("name", "inner")) == []
