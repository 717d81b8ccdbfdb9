"""Which precision `auto` is, by the machine. A GPU stands in here: there is none where tests run."""

import pytest


@pytest.mark.parametrize("quick", [True, False])
def test_a_gpu_is_asked_whether_it_has_bf16(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of GPUs may have old processors, and a T4 on a new host emulates bf16."""
    import torch

    from training.finetune import bf16_is_quick

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or quick)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not quick)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: not quick)
    assert bf16_is_quick() is quick
