"""What transformers' own generate answers greedily, in f32; run in the training image. Prints JSON.

python generated.py MODEL TOKENS PROMPT...   -> [the answer to each prompt, of so many tokens at most ...]
"""

import json
import sys
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

if __name__ == "__main__":
    folder, tokens, *prompts = sys.argv[1:]
    torch.set_num_threads(1)  # two spin and starve on a busy machine
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answers = []
    for prompt in prompts:
        messages = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False, return_tensors="pt"
        )
        out = model.generate(ids, do_sample=False, max_new_tokens=int(tokens), attention_mask=torch.ones_like(ids))
        answers.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    print(json.dumps(answers))
