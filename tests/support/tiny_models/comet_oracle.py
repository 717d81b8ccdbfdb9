"""Score translations by unbabel-comet: `python comet_oracle.py FOLDER TRIPLES`, in an environment that has it.

FOLDER has COMET's layout and its encoder's configuration; TRIPLES is JSON, [[source, translation, reference], …].
Prints the scores as JSON. `predict` is not used, since it writes pickles that torch 2.6 and newer refuse to read back.
"""

import json
import os
import sys
from pathlib import Path


def main(folder: Path, triples: Path) -> None:
    import torch
    from comet import load_from_checkpoint  # pyright: ignore[reportMissingImports]

    samples = [dict(zip(("src", "mt", "ref"), each, strict=True)) for each in json.loads(triples.read_text())]
    os.chdir(folder)  # in whose checkpoint the encoder's path is `.`
    model = load_from_checkpoint("checkpoints/model.ckpt", strict=False, local_files_only=True).eval()
    with torch.inference_mode():
        scores = model(**model.prepare_sample(samples, stage="predict")).score
    print(json.dumps(scores.tolist()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
