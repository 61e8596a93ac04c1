#!/usr/bin/env python3
"""The encoder of the speech recogniser Moonshine as `trainer train --recogniser` reads it.

    pip download --no-deps moonshine-voice==0.0.59
    pip install numpy safetensors flatbuffers onnxruntime
    python3 models/recipe/recogniser.py moonshine_voice-*.whl moonshine-tiny.safetensors

Its weights are in the package, in ONNX Runtime's own format with products in 8 bits; they are written as float32 under the
names of the original. A `model.safetensors` of the original is read as it is and needs none of this.
"""

import argparse
import importlib
import os
import sys
import zipfile

import numpy as np
from safetensors.numpy import save_file

ENCODER = "moonshine_voice/assets/tiny-en/encoder_model.ort"
# ONNX's numbers of element types
TYPES = {1: np.float32, 2: np.uint8, 3: np.int8}


def graph_of(model):
    """The graph in a file of ONNX Runtime's format."""
    import onnxruntime

    tools = os.path.join(os.path.dirname(onnxruntime.__file__), "tools", "ort_format_model")
    sys.path[:0] = [os.path.dirname(tools), tools]
    session = importlib.import_module("ort_flatbuffers_py.fbs.InferenceSession")
    return session.InferenceSession.GetRootAsInferenceSession(model, 0).Model().Graph()


def tensors_of(graph):
    """Every constant of numbers by name."""
    found = {}
    for index in range(graph.InitializersLength()):
        tensor = graph.Initializers(index)
        if tensor.DataType() in TYPES and tensor.RawDataLength():
            shape = [tensor.Dims(axis) for axis in range(tensor.DimsLength())]
            numbers = np.frombuffer(tensor.RawDataAsNumpy().tobytes(), TYPES[tensor.DataType()])
            found[tensor.Name().decode()] = numbers.reshape(shape)
    return found


def weights(graph):
    """The encoder's weights by their original names."""
    tensors = tensors_of(graph)
    out = {}
    for name, numbers in tensors.items():
        plain = name.removesuffix("_add_tensor")
        if plain.startswith(("conv", "layers.", "layer_norm.")) and "/" not in plain:
            out[plain] = numbers
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        inputs = [node.Inputs(k).decode() for k in range(node.InputsLength())]
        place = node.Outputs(0).decode().strip("/").split("/")
        for name in inputs:
            if name.endswith("_quantized") and name in tensors:
                stem = name.removesuffix("_quantized")
                scale, zero = tensors[f"{stem}_scale"], tensors[f"{stem}_zero_point"]
                whole = (tensors[name].astype(np.float32) - zero.astype(np.float32)) * scale
                out[".".join(place[:3]) + ".weight"] = np.ascontiguousarray(whole.T)
            elif name in tensors and place[0] == "groupnorm" and name.startswith("onnx::"):
                kind = {"Mul": "weight", "Add": "bias"}.get(node.OpType().decode())
                if kind:
                    out[f"groupnorm.{kind}"] = tensors[name].reshape(-1)
    return {f"model.encoder.{name}": np.ascontiguousarray(numbers, np.float32) for name, numbers in out.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", help="the package moonshine-voice, 0.0.44 to 0.0.59")
    parser.add_argument("out", help="the .safetensors to write")
    args = parser.parse_args()
    with zipfile.ZipFile(args.wheel) as wheel:
        if ENCODER not in wheel.namelist():
            raise SystemExit(f"{args.wheel}: expected {ENCODER} in it, found none; take version 0.0.59")
        model = wheel.read(ENCODER)
    found = weights(graph_of(model))
    save_file(found, args.out)
    print(f"{args.out}: {len(found)} tensors, {sum(n.size for n in found.values()) / 1e6:.1f} million numbers")


if __name__ == "__main__":
    main()
