"""Make the environments and models that most tests wait for: `python -m tests.support.tiny_models.prepared`."""

from llmops_kit.local_runtime import process_images
from tests.support.tiny_models.models import base_model, families, tiny_encoder, tiny_model


def main() -> None:
    """Make what is not in the cache yet, and say where it is."""
    for name in ("training", "serving", "serving-torch", "training-tensorflow"):
        print(process_images.build(name, print), flush=True)
    for make in (tiny_model, base_model, tiny_encoder, families):
        print(make(), flush=True)


if __name__ == "__main__":
    main()
