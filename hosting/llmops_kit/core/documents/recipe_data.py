"""A recipe's section `data`: sources, and splits."""

import re
from typing import Literal

from pydantic import Field, model_validator

from llmops_kit.core.document import Part
from llmops_kit.core.documents.recipe_prepare import Prepare

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A commit of the hub."""


class DataSource(Part):
    """Files of rows. They are fetched on the caller's machine, with the caller's credentials."""

    source: str = Field(
        min_length=1,
        description="A path or glob below the recipe's folder, `folder:PATH`, `s3://bucket/glob`, "
        "`az://account/container/glob`, `https://host/file`, `hub:org/name` (a dataset), `package:name==version` (a "
        "wheel's files, never run) or `capture:endpoint` (its recorded traffic).",
    )
    files: str = Field(
        default="", description="Glob that selects files in an archive, a package or on the hub; empty: all."
    )
    format: Literal["", "bfcl"] = Field(
        default="",
        exclude_if=lambda form: not form,
        description="`bfcl`: tool calls as the Berkeley Function Calling Leaderboard stores them, in two files. Empty: "
        "by the ends of the files' names.",
    )
    revision: str = Field(default="", description="The hub's commit, 40 hex digits.")
    languages: list[str] = Field(
        default=[], max_length=2, description="For sentence pairs: source and target, as in `[en, de]`."
    )
    token: str = Field(
        default="",
        pattern=r"^(secret:[a-zA-Z][a-zA-Z0-9-]{0,62})?$",
        description="secret:NAME of the token for `hub:` or `https:`; never the token itself.",
    )
    split: Literal["", "train", "validation", "test"] = Field(
        default="", description="The split of all its rows; empty: `data.split` decides."
    )
    licence: str = Field(default="", description="SPDX identifier, recorded in the dataset's manifest.")

    @model_validator(mode="after")
    def _belongs_together(self) -> "DataSource":
        hub = self.source.startswith("hub:")
        if hub != bool(COMMIT.fullmatch(self.revision)):
            raise ValueError("a dataset of the hub needs `revision`, its commit of 40 hex digits; others have none")
        if self.token and not hub and not self.source.startswith("https:"):
            raise ValueError("`token` has no effect without hub: or https:")
        return self


SplitName = Literal["train", "validation", "test", "rephrased"]


class Split(Part):
    """How rows are split by group: all rows of a group are in one split, except for `rephrased`."""

    group: str = Field(
        default="",
        description="Key of a row whose value names its group, such as `fact` or `user`; rows without it are trained. "
        "`translation.en`: the words of a pair's text in that language. Empty: each prompt is a group.",
    )
    validation: float = Field(
        default=0, ge=0, description="Groups whose loss is measured during training: a share below 1, or a number."
    )
    test: float = Field(default=0, ge=0, description="Groups that are only evaluated: a share below 1, or a number.")
    rephrased: int = Field(
        default=0, ge=0, description="Prompts of each trained group that are only evaluated: split `rephrased`."
    )
    seed: int = 0

    @model_validator(mode="after")
    def _usable(self) -> "Split":
        for name in ("validation", "test"):
            value = getattr(self, name)
            if value >= 1 and value != int(value):
                raise ValueError(f"`{name}` is {value}: write a share below 1, or a whole number of groups")
        if self.rephrased and not self.group:
            raise ValueError("`rephrased` needs `group`: each prompt is a separate group")
        return self


class Data(Part):
    """Inputs of the dataset version."""

    sources: list[DataSource] = Field(min_length=1)
    prepare: Prepare = Prepare()
    split: Split = Split()
    faulty_rows: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="Maximum share of unusable rows, which are dropped and counted. 0: the first one is an error.",
    )
    max_characters: int = Field(default=8000, ge=1, description="Longer rows are dropped, and counted in the manifest.")
