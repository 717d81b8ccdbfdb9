"""Compare a stored version with its export: `python loaded.py STORED EXPORTED BASE`, in the training image."""

import json
import sys

from llmops_kit.training.process import prepare_process

prepare_process()

import torch  # noqa: E402
from peft import PeftModel  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

stored, exported, base = sys.argv[1:]
messages = [{"role": "user", "content": "Where are you?"}]
logits, prompts = [], []
for folder in (stored, exported, base):
    prompts.append(
        AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, return_tensors="pt", return_dict=True)
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        logits.append(model(**prompts[0]).logits)
with torch.inference_mode():
    by_adapter = PeftModel.from_pretrained(model, f"{exported}/adapter")(**prompts[0]).logits
apart = (logits[1] - logits[2]).abs().mean()
found = {
    "same_logits": torch.equal(logits[0], logits[1]),
    "same_prompt": torch.equal(prompts[0]["input_ids"], prompts[1]["input_ids"]),
    "trained": bool(apart > 0.01),
    "adapter": bool((by_adapter - logits[1]).abs().mean() < apart / 10),  # the merged weights were rounded to bf16
}
print(json.dumps(found))
