"""A recipe's section `trainer`: a program of the user that trains instead of the kit's code."""

from pydantic import Field, field_validator

from llmops_kit.core.document import Part

_DIGEST = r"[a-z0-9][^\s@]*@sha256:[0-9a-f]{64}"


class Trainer(Part):
    """A program that trains in the first of a run's two jobs; the kit's training image evaluates in the second one.

    It gets the whole run.json, and decides which parts of `training` it uses (docs/how-to/own-trainer.md).
    """

    image: str = Field(
        pattern=rf"^(folder:.+|{_DIGEST})$",
        description="By digest, as in registry.example.com/trainer@sha256:…; or folder:<path> relative to the recipe, "
        "whose Python files run in the training image's packages, or in those of its own requirements.txt (local, "
        "twins).",
    )
    command: list[str] = Field(
        min_length=1,
        max_length=100,
        description="The program and its arguments, as in [python, -m, trainer]; run without a shell.",
    )

    @field_validator("command")
    @classmethod
    def _are_words(cls, command: list[str]) -> list[str]:
        for number, word in enumerate(command, 1):
            if not word or any(ord(letter) < 32 for letter in word):
                raise ValueError(f"`command`, word {number}: is empty or contains a control character")
            if "${{" in word:
                raise ValueError(f"`command`, word {number}: Azure ML would replace ${{{{…}}}}; write the value")
        return command
