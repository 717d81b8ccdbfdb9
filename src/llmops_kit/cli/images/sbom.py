"""The contents of an image or of the wheel, as a bill of materials in CycloneDX 1.6
(https://cyclonedx.org/docs/1.6/json/).

It is made from the lock files with the hashes by which packages are installed, so it lists the allowed packages, not
the result of a scan. A licence is named if this environment has the same version of the package. Of the
base image it names the digest; its distribution packages are left to image scanners.
"""

# The decorator of the library's classes hides them from pyright.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportReturnType=false

import importlib.metadata
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement

from llmops_kit.cli import __version__

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_KIT = "llmops-kit"
_LICENCE = "Apache-2.0"
_NAMESPACE = uuid.UUID("6c6c6d6f-7073-4b69-9474-73626f6d0001")
# Images are linux/amd64 with Python 3.11.
_IN_IMAGES = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}


@dataclass
class Locked:
    """A package in a lock file."""

    name: str
    version: str
    marker: str
    hashes: list[str] = field(default_factory=list)
    required_by: list[str] = field(default_factory=list)


def of_image(name: str, locks: Sequence[Path], source: str, base: str) -> str:
    """Returns the packages of an image as an SBOM (CycloneDX, JSON), read from its locks.

    Args:
        name: training, serving …
        locks: lock files of its environments.
        source: hash of the files that it is made from.
        base: the base image, such as `python:3.11-slim-bookworm@sha256:…`; empty: a process of this machine.
    """
    root = Component(name=f"llmops-{name}", version=f"{__version__}-{source[:20]}", type=ComponentType.CONTAINER)
    root.bom_ref.value = root.name
    bom = _bom(root, locks, _IN_IMAGES)
    kit = Component(
        name=_KIT,
        version=__version__,
        type=ComponentType.APPLICATION,
        bom_ref=_KIT,
        purl=PackageURL("pypi", name=_KIT, version=__version__),
        licenses=[LicenseFactory().make_from_string(_LICENCE)],
        properties=[Property(name="llmops:source", value=source)],
    )
    for component in (kit, *_base(base)):
        bom.components.add(component)
        bom.register_dependency(root, [component])
    return _text(bom)


def of_wheel(lock: Path) -> str:
    """Returns the SBOM of the kit's wheel, with the packages that it is tested with."""
    purl = PackageURL("pypi", name=_KIT, version=__version__)
    root = Component(name=_KIT, version=__version__, type=ComponentType.LIBRARY, purl=purl)
    root.bom_ref.value = _KIT
    root.licenses.add(LicenseFactory().make_from_string(_LICENCE))
    return _text(_bom(root, [lock], None))


def read_lock(lock: Path) -> Iterator[Locked]:
    """Yields the packages of a file written by `uv pip compile --generate-hashes`."""
    found: Locked | None = None
    for line in lock.read_text().splitlines():
        words = line.strip()
        if re.match(r"[A-Za-z0-9]", line):
            if found:
                yield found
            requirement = Requirement(words.removesuffix("\\"))
            (version,) = requirement.specifier
            found = Locked(requirement.name, version.version, str(requirement.marker or ""))
        elif found and words.startswith("--hash="):
            found.hashes.append(words.removeprefix("--hash=sha256:").removesuffix("\\").strip())
        elif found and words[:1] == "#" and (by := _required_by(words)):
            found.required_by.append(by)
    if found:
        yield found


def _required_by(comment: str) -> str:
    """Returns the package, or the file (`-r FILE`), named in one line of the comment below a package; empty if it
    names none, or is a version limit.
    """
    by = comment.removeprefix("#").strip().removeprefix("via").strip()
    return "" if by.startswith("-c ") else by


def base_of(dockerfile: Path) -> str:
    """Returns the default base image of a Dockerfile: its `ARG BASE=`; empty if it has none."""
    found = re.search(r"^ARG BASE=(\S+)$", dockerfile.read_text(), re.MULTILINE)
    return found[1] if found else ""


def _bom(root: Component, locks: Sequence[Path], environment: Mapping[str, str] | None) -> Bom:
    texts = "".join(lock.read_text() for lock in locks)
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, f"{root.name} {root.version} {texts}"))
    bom.metadata.component = root
    known: dict[tuple[str, str], Component] = {}
    for lock in locks:
        packages = [package for package in read_lock(lock) if _applies(package, environment)]
        _add_packages(bom, root, packages, known)
    return bom


def _add_packages(
    bom: Bom, root: Component, packages: Sequence[Locked], known: dict[tuple[str, str], Component]
) -> None:
    """Adds the packages of one lock file; `known` are those of earlier ones, as one version is one component."""
    named: dict[str, list[Component]] = {}  # the wheel's lock may have a package twice, for different machines
    components = [known.setdefault((each.name, each.version), _component(each)) for each in packages]
    for package, component in zip(packages, components, strict=True):
        named.setdefault(package.name, []).append(component)
        bom.components.add(component)
    for package, component in zip(packages, components, strict=True):
        for by in package.required_by:
            for user in named.get(by, [root]):
                bom.register_dependency(user, [component])


def _applies(package: Locked, environment: Mapping[str, str] | None) -> bool:
    from packaging.markers import Marker

    return not package.marker or environment is None or Marker(package.marker).evaluate(dict(environment))


def _component(package: Locked) -> Component:
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", name=package.name, version=package.version),
        bom_ref=f"pkg:pypi/{package.name}@{package.version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.hashes],
        licenses=list(_licence(package)),
        properties=[Property(name="llmops:marker", value=package.marker)] if package.marker else [],
    )


def _licence(package: Locked) -> Iterator[License]:
    try:
        metadata = importlib.metadata.metadata(package.name)
    except importlib.metadata.PackageNotFoundError:
        return
    if metadata["Version"] != package.version:
        return
    if expression := metadata["License-Expression"]:
        yield LicenseFactory().make_from_string(expression)
        return
    for classifier in metadata.get_all("Classifier") or []:
        if classifier.startswith("License ::"):
            yield LicenseFactory().make_with_name(classifier.rpartition("::")[2].strip())


def _base(base: str) -> Iterator[Component]:
    if not base:
        return
    image, _, digest = base.partition("@")
    repository, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "")
    yield Component(
        name=repository,
        version=tag or digest,
        bom_ref="base",
        type=ComponentType.CONTAINER,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))] if digest else [],
        properties=[Property(name="llmops:base", value=base)],
    )


def _text(bom: Bom) -> str:
    """Returns the document's text, which depends on the content only, not on the time."""
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    document["metadata"].pop("timestamp")
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
