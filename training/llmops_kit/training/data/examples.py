"""Rows as tokens, in a file mapped into memory, so that training needs memory only for its batches."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llmops_kit.core.documents.recipe_training import TrainingRecipe
from llmops_kit.core.errors import DataError
from llmops_kit.training.data.chat import Encoded, document_ids, encode, with_system
from llmops_kit.training.data.rows import Row, check_kind, read_rows
from llmops_kit.training.data.translations import as_conversation

_ROWS_TOGETHER = 1024  # in a record batch of the file


class Example(NamedTuple):
    """The token sequences of one row."""

    sequences: list[Encoded]
    chosen: int
    """Number of sequences, from the first, that belong to the better answer; the others belong to the worse one. All
    except for DPO.
    """


class Examples:
    """Examples in an Arrow file, read on access."""

    def __init__(self, path: Path) -> None:
        """Maps a file that `write_examples` wrote."""
        import pyarrow

        table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
        self._columns = {name: table.column(name) for name in table.column_names}
        widths = [chunk.value_lengths().to_numpy() for chunk in self._columns["ids"].chunks]
        self.widths: Sequence[int] = np.concatenate(widths).tolist() if widths else []
        """Tokens of each example."""

    def __len__(self) -> int:
        return len(self.widths)

    def __getitem__(self, index: int) -> Example:
        ids, bears, lengths = (self._values(name, index) for name in ("ids", "bears", "lengths"))
        ends = np.cumsum(lengths)[:-1]
        sequences = [Encoded(*parts) for parts in zip(np.split(ids, ends), np.split(bears, ends), strict=True)]
        return Example(sequences, self._columns["chosen"][index].as_py())

    @property
    def tokens(self) -> int:
        """The number of tokens of all examples."""
        return sum(self.widths)

    def _values(self, name: str, index: int) -> Any:
        return self._columns[name][index].values.to_numpy(zero_copy_only=False)


def load_examples(rows: Path, tokenizer: Any, options: TrainingRecipe, system_prompt: str, target: Path) -> Examples:
    """Tokenises a split's rows, in order, into a file.

    Args:
        rows: the file of the split (`read_rows`).
        options: the recipe's training section, whose method determines the form of an example.
        system_prompt: prepended to conversations without a system message, as by the server.
        target: the file to write.

    Raises:
        DataError: naming file and line: a row is of another kind than the method trains, can't be rendered by the chat
            template, or is longer than `max_tokens`; truncation would train answers without an end.
    """
    write_examples(_examples(rows, tokenizer, options, system_prompt), target)
    return Examples(target)


def load_splits(
    train: Path, validation: Path | None, tokenizer: Any, options: TrainingRecipe, system_prompt: str, folder: Path
) -> tuple[Examples, Examples | None]:
    """Tokenises the split to train and, where there is one, the one whose loss is measured, into files of a folder; as
    `load_examples`, with its errors.
    """
    held_out = folder / "validation.arrow"
    return (
        load_examples(train, tokenizer, options, system_prompt, folder / "train.arrow"),
        load_examples(validation, tokenizer, options, system_prompt, held_out) if validation else None,
    )


def write_examples(examples: Iterable[Example], path: Path) -> None:
    """Writes an Arrow stream: the tokens of all sequences of an example one after the other, and their lengths."""
    import pyarrow

    kinds = {
        "ids": pyarrow.list_(pyarrow.int32()),
        "bears": pyarrow.list_(pyarrow.bool_()),
        "lengths": pyarrow.list_(pyarrow.int32()),
        "chosen": pyarrow.int32(),
    }
    schema = pyarrow.schema(list(kinds.items()))
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, schema) as stream:
        for batch in _batched(examples, _ROWS_TOGETHER):
            columns = [
                [np.concatenate([s.ids for s in e.sequences]) for e in batch],
                [np.concatenate([s.answer for s in e.sequences]) for e in batch],
                [[len(s.ids) for s in e.sequences] for e in batch],
                [e.chosen for e in batch],
            ]
            arrays = [pyarrow.array(c, type=kind) for c, kind in zip(columns, kinds.values(), strict=True)]
            stream.write_batch(pyarrow.record_batch(arrays, schema=schema))


def _batched(examples: Iterable[Example], count: int) -> Iterator[list[Example]]:
    batch: list[Example] = []
    for example in examples:
        batch.append(example)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


def _examples(rows: Path, tokenizer: Any, options: TrainingRecipe, system_prompt: str) -> Iterator[Example]:
    makers = {"sft": _conversations, "dpo": _preference, "pretrain": _document}
    for number, row in read_rows(rows):
        where = f"{rows}:{number}"
        check_kind(row.kind, options, where)
        try:
            learned = _translations(row, options) if row.kind == "translation" else [row]
            examples = [e for each in learned for e in makers[options.method](each, tokenizer, options, system_prompt)]
        except DataError as e:
            raise DataError(e.what, where=where, fix=e.fix) from None
        longest = max(len(sequence.ids) for example in examples for sequence in example.sequences)
        if longest > options.max_tokens:
            raise DataError(
                f"is {longest} tokens long; training.max_tokens is {options.max_tokens}",
                where=where,
                fix="raise training.max_tokens in the recipe, or shorten the row",
            )
        yield from examples


def _translations(row: Row, options: TrainingRecipe) -> list[Row]:
    """Returns a row's texts as the conversations that the recipe asks for.

    Raises:
        DataError: the row lacks both languages of each of them.
    """
    tasks = options.translations
    found = [made for task in tasks if (made := as_conversation(row, task.languages, task.prompt))]
    if not found:
        raise DataError(
            f"has texts in {', '.join(row.translation)}; training.translations asks for "
            f"{' and '.join(' to '.join(task.languages) for task in tasks)}",
            fix="add the languages to training.translations, or leave the row out",
        )
    return found


def _conversations(row: Row, tokenizer: Any, options: TrainingRecipe, system_prompt: str) -> list[Example]:
    """Returns a conversation; several where the chat template rewrites earlier turns."""
    tools = [tool.to_dict() for tool in row.tools]
    sequences = encode(tokenizer, with_system(row.turns, system_prompt), tools, row.completion)
    return [Example([sequence], 1) for sequence in sequences]


def _preference(row: Row, tokenizer: Any, options: TrainingRecipe, system_prompt: str) -> list[Example]:
    """Returns both answers to one prompt as one example. Only they bear loss, not the answers before them."""
    tools = [tool.to_dict() for tool in row.tools]
    before = [turn.to_dict() for turn in row.messages]
    sides = [
        encode(
            tokenizer, with_system([*before, *(turn.to_dict() for turn in answer)], system_prompt), tools, len(answer)
        )
        for answer in (row.chosen, row.rejected)
    ]
    return [Example([*sides[0], *sides[1]], len(sides[0]))]


def _document(row: Row, tokenizer: Any, options: TrainingRecipe, system_prompt: str) -> list[Example]:
    """Returns a text in chunks of at most `max_tokens`. Each begins with the last token of the one before, so that
    every token but a text's first is predicted once.
    """
    ids = np.array(document_ids(tokenizer, row.text), np.int32)
    step = options.max_tokens - 1
    chunks = [ids[start : start + step + 1] for start in range(0, max(1, len(ids) - 1), step)]
    return [Example([Encoded(chunk, np.arange(len(chunk)) > 0)], 1) for chunk in chunks]
