"""Teach a tiny model to work as an agent's.

`python -m tests.support.tiny_models.agent_model FOLDER`, in the training image.

By heart: for each question of `agent_clients.QUESTIONS`, with both functions offered, the call of the right one, and
the answer from its result. It takes the chat template of the assistant recipe.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from llmops_kit.training.process import prepare_process

prepare_process()

from llmops_kit.core.documents.recipe_training import TrainingRecipe  # noqa: E402
from llmops_kit.training.checkpoint_folders import RESULT  # noqa: E402
from llmops_kit.training.models.merge import replace_weights  # noqa: E402
from llmops_kit.training.torch_trainer.finetune import finetune  # noqa: E402
from tests.support.servers.agent_clients import FUNCTIONS, QUESTIONS, SYSTEM, openai_tool  # noqa: E402
from tests.support.tiny_models.tiny import make as make_tiny  # noqa: E402

_TEMPLATE = Path(__file__).parents[3] / "recipes/assistant/chat_template.jinja"
_SOLVED: dict[str, tuple[dict[str, Any], str]] = {
    "room_humidity": ({"room": "kitchen"}, "The humidity is 64 percent."),
    "train_delay": ({"number": 315}, "It is 17 minutes late."),
}
"""Function -> the arguments of its call, and the answer."""
_OPTIONS = {"adapter": "none", "max_steps": 150, "batch_size": 2, "learning_rate": 3e-3, "max_tokens": 2048,
            "precision": "f32", "threads": 1}  # fmt: skip


def row(name: str) -> dict[str, Any]:
    """Returns the whole conversation about a function."""
    arguments, answer = _SOLVED[name]
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": QUESTIONS[name]},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": FUNCTIONS[name](**arguments)},
        {"role": "assistant", "content": answer},
    ]
    return {"messages": messages, "tools": [openai_tool(each) for each in FUNCTIONS]}


def make(folder: Path) -> None:
    """Write the model and its tokenizer as a Hugging Face folder."""
    with tempfile.TemporaryDirectory() as temporary:
        base, work, rows = (Path(temporary, name) for name in ("base", "work", "rows.jsonl"))
        make_tiny(base)
        (base / _TEMPLATE.name).write_bytes(_TEMPLATE.read_bytes())
        rows.write_text("".join(json.dumps(row(name)) + "\n" for name in FUNCTIONS))
        facts = finetune(base, rows, TrainingRecipe.model_validate(_OPTIONS), "", work)
        if facts.last_loss > 0.01:
            raise RuntimeError(f"it has not learnt its rows: {facts}")
        folder.mkdir(parents=True)
        replace_weights(base, work / RESULT, folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
