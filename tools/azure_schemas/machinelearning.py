"""uv run --no-project --with azure-ai-ml==1.35.2 python -m tools.azure_schemas.machinelearning [FILE]

azure-ai-ml bundles the models of Azure ML's REST API 2025-12-01 (MIT License, Microsoft Corporation). Each type that a
body of the twin's kinds can hold becomes a JSON schema, which catches unknown, read-only, missing and mistyped members.
`createOnly` marks what can't change later.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from azure.ai.ml._restclient.arm_ml_service import models  # pyright: ignore[reportMissingImports]

from tools.azure_schemas.typespec import Compiler

BODIES = (
    "Workspace",
    "WorkspaceUpdateParameters",
    "ComputeResource",
    "ClusterUpdateParameters",
    "Datastore",
    "ModelContainer",
    "ModelVersion",
    "EnvironmentContainer",
    "EnvironmentVersion",
    "DataContainer",
    "DataVersionBase",
    "CodeContainer",
    "CodeVersion",
    "OnlineEndpoint",
    "OnlineDeployment",
    "PartialMinimalTrackedResourceWithIdentity",
    "PartialMinimalTrackedResourceWithSku",
    "JobBase",
    "Schedule",
    "DeploymentLogsRequest",
    "RegenerateEndpointKeysRequest",
)
"""Bodies of PUT, PATCH and POST on the kinds that the twin has."""
FILE = Path(__file__).parents[2] / "twins" / "llmops_twins" / "azure" / "ml" / "machinelearningservices.json"


def main(file: Path) -> None:
    """Writes the schemas."""
    compiler = Compiler(models)
    for name in BODIES:
        compiler.reference(getattr(models, name))
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Compiled by tools.azure_schemas.machinelearning from the REST models (API 2025-12-01) in "
        f"azure-ai-ml {version('azure-ai-ml')}, Copyright (c) Microsoft Corporation, MIT License.",
        "$defs": dict(sorted(compiler.defs.items())),
    }
    file.write_text(json.dumps(schema, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{file}: {len(compiler.defs)} definitions")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
