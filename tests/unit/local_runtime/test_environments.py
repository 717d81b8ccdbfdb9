"""Which packages of a lock an environment takes from the one below. How they are made: tests/emulated/local_runtime."""

from pathlib import Path

from llmops_kit.local_runtime.environments import packages_above
from tests.support.checkout import CHECKOUT

BELOW = """\
# made by uv
one==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via -r x.in
two==2.0 ; sys_platform == 'linux' \\
    --hash=sha256:cc
"""


def test_what_is_below_in_the_same_version_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "below.txt").write_text(BELOW)
    ours = BELOW.replace("two==2.0", "two==2.1") + "three==3.0 \\\n    --hash=sha256:dd\n    # via two\n"
    (tmp_path / "lock.txt").write_text(ours)
    found = packages_above(tmp_path / "lock.txt", tmp_path / "below.txt")
    assert found == [
        "two==2.1 ; sys_platform == 'linux' \\\n    --hash=sha256:cc",
        "three==3.0 \\\n    --hash=sha256:dd\n    # via two",
    ]


def test_the_converter_shares_torch_with_training_and_not_transformers() -> None:
    locks = (CHECKOUT / "requirements" / f"{name}.txt" for name in ("export", "training"))
    names = {entry.partition("==")[0] for entry in packages_above(*locks)}
    assert {"transformers", "tokenizers", "huggingface-hub", "optimum-intel", "openvino"} <= names
    assert {"torch", "numpy", "safetensors"}.isdisjoint(names)
