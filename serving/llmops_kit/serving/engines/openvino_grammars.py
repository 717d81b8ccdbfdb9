"""Grammars in openvino-genai, which constrains answers with xgrammar."""

import ctypes
import resource
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import ServingError
from llmops_kit.serving.engines.engine import GRAMMAR_BYTES, MAX_GRAMMAR_BYTES, Grammar


def vocabulary_tokenizer(tokens: Sequence[bytes]) -> Any:
    """Returns a Tokenizer that only has each token's text, which is all that xgrammar needs.

    genai reads the vocabulary from the constants of the operation VocabDecoder in openvino_detokenizer.xml.
    """
    import numpy
    import openvino_genai
    from openvino import Model, opset15, save_model
    from openvino import opset14 as ops
    from openvino.utils.node_factory import NodeFactory

    new_model: Any = Model  # its stubs expect another Model class
    own_opset: Any = NodeFactory()
    own_opset.add_extension(_tokenizers_library())
    ends = numpy.cumsum([len(token) for token in tokens], dtype=numpy.int32)
    begins = numpy.concatenate([[0], ends[:-1]]).astype(numpy.int32)
    content = numpy.frombuffer(b"".join(tokens), dtype=numpy.uint8)
    ids = ops.parameter([-1, -1], dtype=numpy.int64)
    inputs = [ops.convert(ids, "i32"), *(ops.constant(each) for each in (begins, ends, content))]
    decoder = own_opset.create("VocabDecoder", [node.output(0) for node in inputs])
    decoder.set_friendly_name("VocabDecoder")
    *pieces, characters = decoder.outputs()
    fused = own_opset.create("FuzeRagged", pieces).outputs()
    texts = opset15.string_tensor_pack(*fused, characters).outputs()
    texts[0].tensor.add_names({"string_output"})
    with tempfile.TemporaryDirectory(prefix="llmops-vocabulary-") as folder:
        path = Path(folder, "openvino_detokenizer.xml")
        save_model(new_model(texts, [ids], "detokenizer"), path, compress_to_fp16=False)
        return openvino_genai.Tokenizer(folder)


def _tokenizers_library() -> str:
    """Returns the path of the library with the operations of tokenizers, which genai loads too."""
    found = find_spec("openvino_tokenizers")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for path in Path(folder, "lib").glob("libopenvino_tokenizers.*"):
            return str(path)
    raise ServingError(
        "has no lib/libopenvino_tokenizers, whose operations pass a vocabulary to genai",
        where="openvino_tokenizers",
        fix="install the versions of requirements/serving.txt",
    )


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
        whole = Output.Tag(grammar.before, whole, grammar.after)
    return Output(structural_tags_config=whole)


class OpenVinoTrial:
    """Compiles grammars for a vocabulary, with a model of negligible weights."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        tokenizer = vocabulary_tokenizer(tokens)
        self._last = len(tokens) - 1
        self._pipeline = _empty_pipeline(tokenizer, len(tokens))
        self._memory = GrammarMemory(tokenizer)
        self._prepare()

    def compile(self, grammar: Grammar) -> int:
        """Compiles a grammar; returns about the bytes that genai's compiler keeps for it, unless it kept an equal one.

        Raises:
            RuntimeError: genai's own, the grammar can't be used.
        """
        before = _allocated()
        _generate_one(self._pipeline, self._last, grammar)
        size = _allocated() - before
        if size > MAX_GRAMMAR_BYTES:  # an equal one must not pass
            self._memory.clear()
            self._prepare()
        return size

    def _prepare(self) -> None:
        """Makes genai's compiler, whose memory must not count as a grammar's."""
        _generate_one(self._pipeline, self._last, Grammar(schema='{"type": "boolean"}'))


class GrammarMemory:
    """Bounds the memory of the grammars that genai compiles for a tokenizer.

    genai keeps each of them for good, and has no function that removes one. Its compiler belongs to the tokenizer, and
    is for the number of logits with which a pipeline last sampled; when a pipeline with another number samples, genai
    makes a new one and frees the old with all its grammars (`TokenizerImpl::get_structured_output_controller`). So a
    second pipeline, of one logit, computes a token. Running answers keep their own grammars.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._second: Any = None
        self._least = _allocated()
        self.bytes = 0
        """Memory that was allocated since grammars were last removed, for them and whatever else."""

    def bound(self) -> None:
        """Removes the grammars that no running answer needs, if more than GRAMMAR_BYTES were allocated since the last
        time; call it before a grammar is compiled.
        """
        held = _allocated()
        self._least = min(self._least, held)
        if held - self._least > GRAMMAR_BYTES:
            self.clear()
            held = self._least = _allocated()
        self.bytes = held - self._least

    def clear(self) -> None:
        """Removes the grammars that no running answer needs."""
        self._second = self._second or _empty_pipeline(self._tokenizer, 1)
        _generate_one(self._second, 0)


def _empty_pipeline(tokenizer: Any, vocabulary: int) -> Any:
    """Returns a pipeline with a model of negligible weights."""
    import openvino
    import openvino_genai

    with tempfile.TemporaryDirectory(prefix="llmops-trial-") as folder:
        openvino.save_model(_empty_model(vocabulary), Path(folder, "openvino_model.xml"), compress_to_fp16=False)
        Path(folder, "config.json").write_text('{"model_type": "llama"}')
        return openvino_genai.LLMPipeline(folder, tokenizer, "CPU", ATTENTION_BACKEND="SDPA", INFERENCE_NUM_THREADS=1)


def _generate_one(pipeline: Any, stop: int, grammar: Grammar | None = None) -> None:
    """Computes one token.

    Raises:
        RuntimeError: genai's own, the grammar can't be used.
    """
    import numpy
    import openvino
    from openvino_genai import GenerationConfig

    config = GenerationConfig(max_new_tokens=1, eos_token_id=stop, stop_token_ids={stop})
    if grammar:
        config.structured_output_config = structured_output(grammar)
    pipeline.generate(openvino.Tensor(numpy.array([[0]], dtype=numpy.int64)), config)


class _Allocations(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in _names]


def _allocated() -> int:
    """Returns the bytes that are allocated with malloc; before glibc 2.33, those of the process's data."""
    read = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if read is None:
        return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    read.restype = _Allocations
    found = read()
    return found.uordblks + found.hblkhd


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
    new_model: Any = openvino.Model  # its stubs expect another Model class
    return new_model([ops.result(logits)], [ops.assign(past, variable)], [ids, mask, positions, beams], "trial")
