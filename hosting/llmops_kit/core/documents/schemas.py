"""The documents by name, and their published JSON schemas."""

from typing import Any

from llmops_kit.core.document import Document
from llmops_kit.core.documents.captured import CapturedRequest
from llmops_kit.core.documents.collected import CollectedFile
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.evaluation import EvaluationAnswers
from llmops_kit.core.documents.judgements import Judgements
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.revocations import Revocations
from llmops_kit.core.documents.run import RunSpec, RunState
from llmops_kit.core.documents.store import Alias, StoreDocument

DOCUMENTS: dict[str, type[Document]] = {
    d.SCHEMA.partition("/")[0]: d
    for d in (
        Recipe,
        RunSpec,
        RunState,
        CollectedFile,
        CapturedRequest,
        DatasetManifest,
        ModelManifest,
        EvaluationAnswers,
        Judgements,
        StackOutputs,
        StoreDocument,
        Alias,
        Revocations,
    )
}


def json_schema(name: str) -> dict[str, Any]:
    """Returns the JSON schema (2020-12) of a document by its name in DOCUMENTS."""
    document = DOCUMENTS[name]
    schema = document.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"]["schema"]["const"] = document.SCHEMA
    return schema
