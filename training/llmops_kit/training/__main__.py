"""The training image's commands.

python -m llmops_kit.training COMMAND …

train [--folder NAME=PATH …] [--run RUN]
    the job: reads /opt/ml/input, writes /opt/ml/model, or uses the named folders
rank
    one of several processes of a job, which `train` starts
import SOURCE OUT --name NAME [--source …] [--revision …] [--licence …] [--[no-]openvino] [--chat-template FILE]
    a base model as a complete, unsigned version
convert VERSION OUT
    a copy of a version, with OpenVINO's form
answer MODEL DATASET OUT --suite JSON … [--system-prompt …] [--precision …]
    a model's answers to suites of a dataset version
score-translations MODEL TRIPLES OUT
    a COMET version's scores of [[source, translation, reference], …], as JSON
outline SOURCE OUT
    the configuration and tokenizer of a GGUF file, or of the one in a folder
estimate SOURCE REQUEST OUT [--chat-template FILE]
    how machines would train: EstimateRequest in, Estimate out, as JSON
check FOLDER REQUEST OUT
    whether a model can be imported and trained, from its small files: CheckRequest in, ModelCheck out, as JSON
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from llmops_kit.core.documents.estimate import EstimateRequest
from llmops_kit.core.documents.recipe_evaluation import Suite
from llmops_kit.core.documents.run import RUN_VARIABLE
from llmops_kit.core.errors import KitError, require_packages
from llmops_kit.core.layout import FOLDER_VARIABLES
from llmops_kit.core.programs import tell_error
from llmops_kit.training.entry import end_program, enter_job
from llmops_kit.training.process import die_with_parent, hide, prepare_process


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit code: 0, or 1 after a message on stderr.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "train":
            os.environ |= _folder_variables(options.folder) | ({RUN_VARIABLE: options.run} if options.run else {})
            enter_job(os.environ)
        prepare_process()
        require_packages("training", "torch", "transformers", "trl", "peft")
        return _run(options)
    except KitError as e:
        tell_error(e)
        return 1


def _run(options: argparse.Namespace) -> int:
    """Runs the command in a prepared process; returns the exit code."""
    if options.command == "train":
        from llmops_kit.training.job import run_job

        return run_job(os.environ)
    if options.command == "rank":
        die_with_parent()
        from llmops_kit.training.job import run_rank

        return run_rank(os.environ)
    if options.command == "answer":
        _answer(options)
        return 0
    if options.command == "score-translations":
        from llmops_kit.training.evaluation.comet import score_file

        score_file(options.model, options.triples, options.out)
        return 0
    if options.command == "outline":
        from llmops_kit.training.models.from_gguf import write_outline
        from llmops_kit.training.models.importing import find_source

        write_outline(find_source(options.source), options.out)
        return 0
    if options.command == "estimate":
        _estimate(options)
        return 0
    if options.command == "check":
        from llmops_kit.training.import_check import answer_check

        answer_check(options.folder, options.request, options.out)
        return 0
    if options.command == "convert":
        from llmops_kit.training.models.importing import add_openvino

        add_openvino(options.version, options.out)
        return 0
    from llmops_kit.training.models.importing import import_model

    import_model(
        options.source,
        options.out,
        name=options.name,
        origin=options.origin,
        revision=options.revision,
        licence=options.licence,
        openvino=options.openvino,
        chat_template=options.chat_template,
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m llmops_kit.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="run the job in this container's folders")
    train.add_argument(
        "--folder",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=f"where the platform mounts {', '.join(FOLDER_VARIABLES)}; else as SageMaker does",
    )
    train.add_argument("--run", default="", help="the run's id, if it is not the spec's")
    commands.add_parser("rank", help="one of several processes of a job, which train starts")
    bring = commands.add_parser("import", help="convert a GGUF file or Hugging Face folder into a model version")
    bring.add_argument("source", type=Path)
    bring.add_argument("out", type=Path)
    bring.add_argument("--name", required=True, help="the version's name in the store")
    bring.add_argument("--source", dest="origin", default="", help="where it comes from, as package:, hub: or folder:")
    bring.add_argument("--revision", default="")
    bring.add_argument("--licence", default="")
    bring.add_argument("--openvino", action=argparse.BooleanOptionalAction, help="default: by the model's size")
    bring.add_argument("--chat-template", type=Path, help="instead of the model's own")
    convert = commands.add_parser("convert", help="copy a version, and add OpenVINO's form")
    convert.add_argument("version", type=Path)
    convert.add_argument("out", type=Path, help="must not exist")
    _add_answer(commands.add_parser("answer", help="answer suites of a dataset version with a model"))
    score = commands.add_parser("score-translations", help="score translations by a COMET model")
    score.add_argument("model", type=Path)
    score.add_argument("triples", type=Path)
    score.add_argument("out", type=Path)
    describe = commands.add_parser("outline", help="write a GGUF file's configuration and tokenizer, without weights")
    describe.add_argument("source", type=Path)
    describe.add_argument("out", type=Path, help="must exist")
    foresee = commands.add_parser("estimate", help="say how machines would train a model, without training it")
    foresee.add_argument("source", type=Path, help="a folder with config.json, and a tokenizer to count rows; or GGUF")
    foresee.add_argument("request", type=Path)
    foresee.add_argument("out", type=Path)
    foresee.add_argument("--chat-template", type=Path, help="instead of a GGUF file's own")
    judge = commands.add_parser("check", help="check whether a model can be imported and trained, without its weights")
    judge.add_argument("folder", type=Path, help="has its small files, and empty ones for the rest")
    judge.add_argument("request", type=Path)
    judge.add_argument("out", type=Path)
    return parser


def _add_answer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--suite", action="append", required=True, metavar="JSON", help="one of a recipe's suites")
    parser.add_argument("--system-prompt", default="")
    parser.add_argument("--precision", choices=["auto", "bf16", "f32"], default="auto")


def _answer(options: argparse.Namespace) -> None:
    from llmops_kit.training.evaluation.answering import answer_suites

    suites = [Suite.model_validate_json(text) for text in options.suite]
    answer_suites(options.model, options.dataset, options.out, suites, options.system_prompt, options.precision)


def _estimate(options: argparse.Namespace) -> None:
    request = EstimateRequest.model_validate_json(options.request.read_text())
    # What torch and peft import where it is installed, and an estimate doesn't use: half a second of processor time.
    hide("triton", *([] if request.training.adapter == "qlora" else ["bitsandbytes"]))
    from llmops_kit.training.torch_trainer.estimate import answer

    answer(options.source, request, options.out, options.chat_template)


def _folder_variables(folders: Sequence[str]) -> dict[str, str]:
    """Returns the environment variables for `--folder`, which the job's other processes inherit.

    Raises:
        KitError: an argument is not NAME=PATH of a job's folder.
    """
    variables = {}
    for text in folders:
        name, equals, path = text.partition("=")
        if name not in FOLDER_VARIABLES or not equals or not Path(path).is_absolute():
            raise KitError(
                "is not a folder of a job",
                where=f"--folder {text}",
                fix=f"write NAME=PATH, an absolute path of one of {', '.join(FOLDER_VARIABLES)}",
            )
        variables[FOLDER_VARIABLES[name]] = path
    return variables


if __name__ == "__main__":
    end_program(main())
