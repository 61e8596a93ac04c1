"""ONNX exports that stay small: shapes of intermediate values and notes are dropped, intermediate values have short names, equal
constants are one, and only nodes that use a weight keep their names. They run as before."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper


def export(net: torch.nn.Module, inputs: dict, path: Path, folding: bool, opset: int) -> None:
    torch.onnx.export(
        net,
        tuple(inputs.values()),
        path,
        dynamo=False,
        do_constant_folding=folding,
        opset_version=opset,
        input_names=list(inputs),
        output_names=["audio"],
    )
    shrink(path, path)


def shrink(source: Path, target: Path, half: bool = False) -> None:
    model = onnx.load(source)
    del model.graph.value_info[:]
    kept = {tensor.name for tensor in model.graph.initializer} | {value.name for value in model.graph.output}
    short, constants = {}, {}
    for node in list(model.graph.node):
        if node.op_type == "Constant":
            # Equal constants become one.
            value = node.attribute[0].SerializeToString()
            if value in constants:
                short[node.output[0]] = constants[value]
                model.graph.node.remove(node)
                continue
            constants[value] = f"#{len(short):x}"
        node.doc_string = ""
        uses = any(name in kept for name in node.input)
        if not uses and node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            node.name = ""
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                made = name in short or names is node.output
                if made and name and name not in kept:
                    names[place] = short.setdefault(name, f"#{len(short):x}")
    if half:
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                values = numpy_helper.to_array(tensor).astype(np.float16)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    if not half:
        onnx.checker.check_model(model)
    onnx.save(model, target)
