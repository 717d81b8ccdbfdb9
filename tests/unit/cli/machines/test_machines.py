from llmops_kit.cli.machines.machines import find_type, gpu_types
from llmops_kit.cli.machines.prices import load_prices


def test_every_gpu_machine_with_a_price_is_in_the_table() -> None:
    for region, prefixes in (("us-east-1", ("ml.g", "ml.p")), ("eastus", ("Standard_NC", "Standard_ND"))):
        names = [row["name"] for row in load_prices(region).rows() if row["kind"] == "training"]
        assert not [name for name in names if name.startswith(prefixes) and not find_type(name)]


def test_names_mean_the_same_in_capitals_and_small_letters() -> None:
    found = find_type("standard_nc24ADS_a100_v4")
    assert found
    assert found.gpu
    assert (found.name, found.gpus, found.gpu.gigabytes) == ("Standard_NC24ads_A100_v4", 1, 80)
    assert find_type("ml.z9.huge") is None


def test_clouds_and_processors_are_told_apart() -> None:
    assert {each.name.partition("_")[0] for each in gpu_types(azure=True)} == {"Standard"}
    assert {each.name[:3] for each in gpu_types(azure=False)} == {"ml."}
    cpu = find_type("ml.m5.xlarge")
    assert cpu
    assert (cpu.gpu, cpu.gpus, cpu.memory) == (None, 0, 16 << 30)
