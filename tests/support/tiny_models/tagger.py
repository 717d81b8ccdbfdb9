"""Train a tiny model that tags names: `python tagger.py FOLDER`, in the training image; it takes some seconds.

It knows a person's two names and a town, by words of two tokens, of which it tags the first alone: `Mar ##ia`. It takes
64 tokens.
"""

import random
import sys
from pathlib import Path

NAMED = {"maria": ("mar", "##ia"), "jonas": ("jon", "##as"), "riga": ("ri", "##ga")}
LABELS = ["O", "B-PER", "I-PER", "B-LOC"]  # the last three as NAMED
OTHERS = ["a", "and", "asks", "boat", "in", "lives", "of", "sails", "the", "to", "with", ".", ","]


def make(folder: Path) -> None:
    """Write the model and its tokenizer as a Hugging Face folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    pieces = [piece for both in NAMED.values() for piece in both]
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces, *OTHERS])}
    core = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **special)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    model = BertForTokenClassification(config)
    train(model, core)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")


def train(model, tokenizer) -> None:
    """Teach it which words of random ones are which."""
    import torch

    draw = random.Random(0)
    first = [tokenizer.token_to_id(first) for first, _ in NAMED.values()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        texts = [" ".join(draw.choices([*NAMED, *OTHERS], k=40)) for _ in range(8)]
        ids = [tokenizer.encode(text).ids[:62] for text in texts]
        ids = torch.tensor([each + [0] * (62 - len(each)) for each in ids])
        labels = sum((ids == token).long() * label for label, token in enumerate(first, start=1))
        model(input_ids=ids, attention_mask=(ids > 0).long(), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
