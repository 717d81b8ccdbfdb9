"""A trainer of your own for the LLMOps kit, about as small as one can be: all weights, loss on the last answer alone.

It reads and writes the folders that its environment names, on every target alike (docs/how-to/own-trainer.md).
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from pyarrow import parquet
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Trains from the last checkpoint on, and leaves a Hugging Face folder."""
    at = {
        n: Path(os.environ[f"LLMOPS_FOLDER_{n.upper()}"])
        for n in ("spec", "dataset", "base_model", "model", "checkpoints")
    }
    recipe = json.loads((at["spec"] / "run.json").read_text())["recipe"]
    options, began, stops, measured, tokens = recipe["training"], time.monotonic(), [], [], 0
    signal.signal(signal.SIGTERM, lambda *_: stops.append(True))
    torch.set_num_threads(options["threads"] or len(os.sched_getaffinity(0)))
    tokenizer = AutoTokenizer.from_pretrained(at["base_model"])
    model: Any = AutoModelForCausalLM.from_pretrained(at["base_model"], dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options["learning_rate"], weight_decay=0)
    split = json.loads((at["dataset"] / "manifest.json").read_text())["splits"]["train"]
    lines = parquet.read_table(at["dataset"] / split)["row"].to_pylist()
    rows = [example(tokenizer, json.loads(line)["messages"], recipe["serving"]["system_prompt"]) for line in lines]
    order = [row for n in range(options["epochs"]) for row in random.Random(n).sample(rows, len(rows))]
    batches = [order[n : n + options["batch_size"]] for n in range(0, len(order), options["batch_size"])]

    checkpoint, step = at["checkpoints"] / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, measured, tokens = saved["step"], saved["measured"], saved["tokens"]
        began -= measured[-1]["seconds"]
        print(f"resume=step-{step}", flush=True)
    while step < len(batches):
        loss = learn(model, optimizer, batches[step])
        tokens += sum(len(ids) for ids, _ in batches[step])
        step += 1
        measured.append({"step": step, "time": time.time(), "seconds": time.monotonic() - began, "loss": loss})
        print(f"step={step} total={len(batches)} loss={loss:.4f}", flush=True)  # the kit shows such lines
        if stops or step % options["checkpoint_steps"] == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(
                {**state, "step": step, "measured": measured, "tokens": tokens}, checkpoint.with_suffix(".partial")
            )
            checkpoint.with_suffix(".partial").replace(checkpoint)
        if stops:  # a machine is taken back, or `llmops runs stop`: the next start continues from here
            sys.exit(143)

    model.to(torch.bfloat16).save_pretrained(at["model"])
    tokenizer.save_pretrained(at["model"])
    facts = {"steps": step, "tokens": tokens, "seconds": round(time.monotonic() - began, 1), "precision": "f32"}
    facts |= {"first_loss": measured[0]["loss"], "last_loss": measured[-1]["loss"]}
    (at["model"] / "training.json").write_text(json.dumps(facts))
    (at["model"] / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in measured))


def example(tokenizer: Any, messages: list[dict[str, str]], system: str) -> tuple[list[int], int]:
    """Returns a conversation's tokens in the model's own template, and how many of them come before the last answer."""
    turns = [{"role": "system", "content": system}] * bool(system) + messages
    prompt = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, whole)]
    return ids[1], len(ids[0])


def learn(model: Any, optimizer: Any, batch: list[tuple[list[int], int]]) -> float:
    """Takes one step, row by row; returns the mean loss of a row."""
    total = 0.0
    for ids, known in batch:
        labels = torch.tensor([[-100] * known + ids[known:]])
        loss = model(input_ids=torch.tensor([ids]), labels=labels).loss / len(batch)
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return total


if __name__ == "__main__":
    main()
