"""What transformers' own generate answers greedily, in f32; run in the training image. Prints JSON.

python generated.py PROMPTS MODEL TOKENS...   -> [[a model's answer to each prompt, of so many tokens at most ...] ...]
"""

import json
import sys
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def answers(folder: str, tokens: int, prompts: list[str]) -> list[str]:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for prompt in prompts:
        messages = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False, return_tensors="pt"
        )
        out = model.generate(ids, do_sample=False, max_new_tokens=tokens, attention_mask=torch.ones_like(ids))
        found.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)  # two spin and starve on a busy machine
    asked, *models = sys.argv[1:]
    pairs = zip(models[::2], map(int, models[1::2]), strict=True)
    print(json.dumps([answers(folder, tokens, json.loads(asked)) for folder, tokens in pairs]))
