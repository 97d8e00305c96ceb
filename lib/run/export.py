"""Writes a network as ONNX, which runs without Keras, in a browser for example."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.files.errors import UserError, need_package
from lib.files.whole import write_whole

if TYPE_CHECKING:
    import keras

CHECKED = 100  # inputs on which an exported network is compared with Keras
TOLERANCE = 1e-4  # largest difference of any output
Range = tuple[Any, Any]  # lowest and highest value, numbers or arrays
IMAGES = (0.0, 1.0)
SYMMETRIC = (-1.0, 1.0)
PACKAGES = ("tf2onnx", "onnx", "onnxruntime")


def check_packages() -> None:
    """Raises a UserError if the backend is not TensorFlow or a package is missing."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"ONNX export needs the TensorFlow backend, found {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow"
        )
    for package in PACKAGES:
        need_package(package, "ONNX export", "requirements-export.txt")


def write(
    networks: dict[str, keras.Model], path: Path, script: Path, inputs: Range = IMAGES
) -> dict[Path, float]:
    """Writes the networks of a script as ONNX files, and prints a line for each.

    Raises a UserError if a package is missing, a file cannot be written, or an exported network
    differs from Keras by more than TOLERANCE.

    Args:
        networks: {suffix of the file name: functional or sequential model with weights}.
        path: of the file, to whose stem the suffixes are added. Its folder is made if needed.
        script: for the metadata of the files.
        inputs: range of the random inputs on which a file is compared with Keras. The codes of a
            decoder are symmetric instead.

    Returns:
        {path: largest difference from Keras}.
    """
    check_packages()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to '{path.parent}': {error.strerror}") from None
    differences: dict[Path, float] = {}
    for suffix, network in networks.items():
        started = time.monotonic()
        target = path.with_name(f"{path.stem}{suffix}.onnx")
        contents = _converted(network, script=f"{script.resolve().parent.name}/{script.name}")
        write_whole(target, functools.partial(Path.write_bytes, data=contents))
        seconds = time.monotonic() - started
        found = difference(network, target, SYMMETRIC if suffix == "-decoder" else inputs)
        print(
            f"{target}: {len(contents) / 1e6:.1f} MB, {seconds:.1f} s, differs from Keras by at "
            f"most {found:.1e}",
            flush=True,
        )
        if not found <= TOLERANCE:
            raise UserError(
                f"'{target}' differs from Keras by {found:.1e}, expected at most {TOLERANCE:g}"
            )
        differences[target] = found
    return differences


def _converted(network: keras.Model, **about: str) -> bytes:
    """The contents of an ONNX file of a network; `about` are texts of its metadata."""
    import onnx

    # Keras exports a model only after its first call.
    zeros = [np.zeros((1, *tensor.shape[1:]), "float32") for tensor in network.inputs]
    network(zeros if len(zeros) > 1 else zeros[0])
    # Its messages are about its own steps, and NumPy's about its use of NumPy.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        file = Path(folder) / "network.onnx"
        network.export(file, format="onnx", verbose=False)
        model = onnx.load(file)
    _name_tensors(model, network)
    onnx.helper.set_model_props(model, {"network": network.name, **about})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tensor_names(network: keras.Model) -> tuple[list[str], list[str]]:
    """The names of inputs and outputs in the file: Keras' own, "inputs" or "output" without one."""
    inputs = [tensor.name for tensor in network.inputs]
    if len(inputs) == 1 and inputs[0].startswith("keras_tensor"):
        inputs = ["inputs"]
    outputs = ["output"] if len(network.outputs) == 1 else list(network.output_names)
    return inputs, outputs


def _name_tensors(model, network):
    """Names the inputs, the outputs and the free batch size."""
    values = [*model.graph.input, *model.graph.output]
    given = itertools.chain(*tensor_names(network))
    names = {value.name: name for value, name in zip(values, given, strict=True)}
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            for i, tensor in enumerate(tensors):
                # A tensor inside of the graph may have a name that is given to another one.
                tensors[i] = names.get(tensor, f"{tensor}_" if tensor in names.values() else tensor)
    for value in values:
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def difference(network: keras.Model, path: Path, inputs: Range) -> float:
    """The largest difference of a network from its ONNX file, on CHECKED random inputs.

    `inputs` are their lowest and highest value; labels are one-hot instead.
    """
    import keras
    import onnxruntime

    rng = np.random.default_rng(0)
    given = {}
    for tensor, name in zip(network.inputs, tensor_names(network)[0], strict=True):
        x = rng.uniform(*inputs, (CHECKED, *tensor.shape[1:]))
        if name == "labels":
            x = np.eye(tensor.shape[1])[np.arange(CHECKED) % tensor.shape[1]]
        given[name] = x.astype("float32")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if os.environ.get("OMP_NUM_THREADS") == "1" else 0
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    expected = network([*given.values()] if len(given) > 1 else given[name])
    pairs = zip(session.run(None, given), keras.tree.flatten(expected), strict=True)
    return max(float(np.abs(a - keras.ops.convert_to_numpy(b)).max()) for a, b in pairs)
