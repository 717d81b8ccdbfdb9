"""Finds AWS's container images as bases of the kit's; only the sagemaker package has a table of their registries.

https://docs.aws.amazon.com/sagemaker/latest/dg-ecr-paths/sagemaker-algo-docker-registry-paths.html
"""

from llmops_kit.core.errors import KitError, require_packages


def base_image(
    framework: str, region: str, *, version: str = "", instance_type: str = "", training: bool = False
) -> str:
    """Returns the URI of an AWS image, by tag, from the package's own files; uses no network.

    Args:
        framework: the package's name of it: `pytorch`, `djl-lmi`, `huggingface` …
        region: determines the account of the registry.
        version: of the framework; empty: the newest that the package knows.
        instance_type: decides between CPU and GPU.
        training: the image for training, if a framework has two.

    Raises:
        KitError: the package is missing, or knows no such image.
    """
    require_packages("sagemaker", "sagemaker")
    from sagemaker.core import image_uris  # pyright: ignore[reportMissingImports]

    try:
        return image_uris.retrieve(
            framework,
            region,
            version=version or None,
            py_version=None,
            instance_type=instance_type or "ml.m5.xlarge",
            image_scope="training" if training else "inference",
        )
    except (ValueError, KeyError, FileNotFoundError) as e:
        raise KitError(
            f"the sagemaker package knows no such image: {str(e).strip() or type(e).__name__}",
            where=f"{framework} {version}".strip(),
            fix="the frameworks are files of its folder core/image_uri_config",
        ) from e
