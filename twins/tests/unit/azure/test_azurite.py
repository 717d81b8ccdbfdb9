"""What Azurite is installed from."""

import json

from llmops_twins.azure.blobs.azurite import AZURITE


def test_the_lock_names_no_host_and_pins_every_package() -> None:
    lock = json.loads((AZURITE.sources / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert f"node_modules/{AZURITE.needs}" in packages
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert "://" not in json.dumps(lock)
