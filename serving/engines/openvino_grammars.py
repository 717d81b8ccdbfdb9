"""Grammars in openvino-genai, which constrains answers with xgrammar.

A grammar that xgrammar can't compile is accepted with a request, and then makes every step of the pipeline raise; one
that takes long delays all answers. So each is compiled beforehand, in a separate process that runs this module
(`serving.grammars` is the server's side): only that process waits, fails or runs out of memory.
"""

import json
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from serving.engines.engine import Grammar

CPU_SECONDS = 1
"""CPU time, over all processors, that a grammar may take. The engine's step takes as long again."""
_MEMORY = 2 << 30


def vocabulary_tokenizer(tokens: Sequence[bytes]) -> Any:
    """Returns a Tokenizer that only knows each token's text, which is all that xgrammar needs.

    genai reads the vocabulary from the constants of the operation VocabDecoder in openvino_detokenizer.xml.
    """
    import numpy
    import openvino_genai
    from openvino import Model, save_model
    from openvino import opset14 as ops
    from openvino_tokenizers import _get_factory, _get_opset_factory

    new_model: Any = Model  # its stubs take another Model
    own_opset, opset = cast(Any, _get_factory)(), cast(Any, _get_opset_factory)("opset15")
    ends = numpy.cumsum([len(token) for token in tokens], dtype=numpy.int32)
    begins = numpy.concatenate([[0], ends[:-1]]).astype(numpy.int32)
    content = numpy.frombuffer(b"".join(tokens), dtype=numpy.uint8)
    ids = ops.parameter([-1, -1], dtype=numpy.int64)
    inputs = [ops.convert(ids, "i32"), *(ops.constant(each) for each in (begins, ends, content))]
    decoder = own_opset.create("VocabDecoder", [node.output(0) for node in inputs])
    decoder.set_friendly_name("VocabDecoder")
    *pieces, characters = decoder.outputs()
    fused = own_opset.create("FuzeRagged", pieces).outputs()
    texts = opset.create("StringTensorPack", [*fused, characters]).outputs()
    texts[0].tensor.add_names({"string_output"})
    with tempfile.TemporaryDirectory(prefix="llmops-vocabulary-") as folder:
        path = Path(folder, "openvino_detokenizer.xml")
        save_model(new_model(texts, [ids], "detokenizer"), path, compress_to_fp16=False)
        return openvino_genai.Tokenizer(folder)


def structured_output(grammar: Grammar) -> Any:
    """Returns a grammar as genai's request configuration."""
    from openvino_genai import StructuredOutputConfig as Output

    if grammar.schema:
        return Output(json_schema=grammar.schema)
    tags = [Output.Tag(each.begin, Output.JSONSchema(each.schema), each.end) for each in grammar.choices]
    if grammar.trigger:
        triggered = Output.TriggeredTags([grammar.trigger], tags, stop_after_first=not grammar.several)
        return Output(structural_tags_config=triggered)
    whole: Any = Output.TagsWithSeparator(
        tags, grammar.separator, at_least_one=True, stop_after_first=not grammar.several
    )
    if grammar.before or grammar.after:
        whole = Output.Concat(Output.ConstString(grammar.before), whole, Output.ConstString(grammar.after))
    return Output(structural_tags_config=whole)


class GrammarTrial:
    """Compiles grammars for a vocabulary, with a model of negligible weights."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        import openvino
        import openvino_genai

        self._size = len(tokens)
        with tempfile.TemporaryDirectory(prefix="llmops-trial-") as folder:
            openvino.save_model(_empty_model(self._size), Path(folder, "openvino_model.xml"), compress_to_fp16=False)
            Path(folder, "config.json").write_text('{"model_type": "llama"}')
            self._pipeline = openvino_genai.LLMPipeline(
                folder, vocabulary_tokenizer(tokens), "CPU", ATTENTION_BACKEND="SDPA"
            )

    def fault_of(self, grammar: Grammar) -> str:
        """Returns why a grammar can't be used; empty if it can."""
        import numpy
        import openvino
        from openvino_genai import GenerationConfig

        last = self._size - 1
        config = GenerationConfig(max_new_tokens=1, eos_token_id=last, stop_token_ids={last})
        config.structured_output_config = structured_output(grammar)
        try:
            self._pipeline.generate(openvino.Tensor(numpy.array([[0]], dtype=numpy.int64)), config)
        except Exception as e:  # whatever the library raises
            return _reason(str(e))
        return ""


def _empty_model(vocabulary: int) -> Any:
    """Returns a model with a language model's inputs, state and output, whose logits are all 0."""
    import numpy
    import openvino
    from openvino import opset14 as ops
    from openvino.op.util import Variable, VariableInfo

    def inputs(name: str, shape: list[int], dtype: type) -> Any:
        node = ops.parameter(shape, dtype=dtype, name=name)
        node.output(0).tensor.set_names({name})
        return node

    def zero(node: Any) -> Any:
        """Returns a scalar that depends on a tensor."""
        axes = ops.constant(numpy.arange(node.get_output_partial_shape(0).rank.get_length()))
        return ops.multiply(ops.convert(ops.reduce_sum(node, axes), "f32"), ops.constant(numpy.float32(0)))

    names = ("input_ids", "attention_mask", "position_ids")
    ids, mask, positions = (inputs(name, [-1, -1], numpy.int64) for name in names)
    beams = inputs("beam_idx", [-1], numpy.int32)
    info = VariableInfo()
    info.data_shape, info.data_type, info.variable_id = openvino.PartialShape([-1, 1]), openvino.Type.f32, "past"
    variable = Variable(info)
    batch = ops.gather(ops.shape_of(ids), ops.constant(numpy.array([0])), ops.constant(0))
    shape = ops.concat([batch, ops.constant(numpy.array([1]))], 0)
    begin = ops.broadcast(ops.constant(numpy.float32(0)), shape)
    past = ops.gather(ops.read_value(begin, variable), beams, ops.constant(0))
    sum_of_all = ops.add(ops.add(zero(past), zero(mask)), zero(positions))
    hidden = ops.add(ops.multiply(ops.convert(ids, "f32"), ops.constant(numpy.float32(0))), sum_of_all)
    row = ops.constant(numpy.zeros((1, vocabulary), numpy.float32))
    logits = ops.matmul(ops.unsqueeze(hidden, ops.constant(numpy.array([2]))), row, False, False)
    logits.output(0).tensor.set_names({"logits"})
    new_model: Any = openvino.Model  # its stubs take another Model
    return new_model([ops.result(logits)], [ops.assign(past, variable)], [ids, mask, positions, beams], "trial")


def _reason(error: str) -> str:
    """Returns the library's message without source locations."""
    line = " ".join(error.split())
    return line.rpartition(".cc:")[2].partition(": ")[2][:300] or line[-300:]


def main() -> None:
    """Answers each line with a grammar by a line with its fault. The first line is the vocabulary, as Latin-1."""
    tokens = [token.encode("latin-1") for token in json.loads(sys.stdin.readline())]
    trial = GrammarTrial(tokens)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library prints to it
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))  # SIGXCPU ends the process
        fault = trial.fault_of(Grammar.of_dict(json.loads(line)))
        print(json.dumps(fault), file=out, flush=True)


if __name__ == "__main__":
    main()
