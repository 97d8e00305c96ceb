"""The files that the explorer downloads: networks, digits and pictures, made small.

The page unpacks files in `.gz` itself, because most static hosts send such files as they are.
"""

import base64
import gzip

import numpy as np
from PIL import Image

from tools import networks
from tools.scripts import ROOT

LEAST_HALVED = 1024  # numbers in an array that may be stored in half precision
MOST_CHANGED = 6e-4  # largest change of an output by half precision; the tests allow 1e-3
CHECKED = 20  # inputs on which the change is measured
PICTURE_WIDTH = 480  # pixels of the still pictures
DIGITS = ROOT / "lib/data/mnist-5000.npz"


def pack(contents, path):
    """Writes bytes compressed, always in the same form; returns the size of the file."""
    path.write_bytes(gzip.compress(contents, mtime=0))
    return path.stat().st_size


def sample_digits():
    """The first test digit of each class, as base64 of 28 x 28 bytes."""
    with np.load(DIGITS) as data:
        images, labels = data["x_test"], data["y_test"]
    first = [images[np.flatnonzero(labels == digit)[0]] for digit in range(10)]
    return [base64.b64encode(image.tobytes()).decode() for image in first]


def all_digits():
    """The real digits of the repository as bytes: 4,000 and 1,000 images, then their labels."""
    with np.load(DIGITS) as data:
        parts = [data[name] for name in ("x_train", "x_test", "y_train", "y_test")]
    return b"".join(part.astype("uint8").tobytes() for part in parts)


def still_picture(source, target):
    """Copies a figure of the repository as a small picture; returns its width and height."""
    with Image.open(source) as image:
        picture = image.convert("RGB")
    picture.thumbnail((PICTURE_WIDTH, PICTURE_WIDTH), Image.Resampling.LANCZOS)
    picture.save(target, quality=72, method=6)
    return picture.size


def export_models(names, folder):
    """Exports networks into `folder`, but for those that it has already."""
    missing = [name for name in names if not (folder / f"{name}.onnx").exists()]
    needed = [name for name in networks.PRETRAINED if any(made_by(name, file) for file in missing)]
    if needed:
        networks.export_all(needed, folder)


def made_by(name, file):
    """Whether the weights `name` are exported to `file`, among others."""
    return file == name or file.startswith(f"{name}-")


def halved(path):
    """The contents of an ONNX file with its larger arrays in half precision.

    All are halved if that changes no output by more than MOST_CHANGED, else the largest one, else
    those that lose nothing by it. The runtime computes in single precision.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    large = [
        name
        for name, array in sorted(arrays.items(), key=lambda pair: -pair[1].size)
        if array.dtype == np.float32 and array.size >= LEAST_HALVED
    ]
    with np.errstate(over="ignore"):
        lossless = [
            name
            for name in large
            if np.array_equal(arrays[name].astype(np.float16).astype(np.float32), arrays[name])
        ]
    if lossless == large:
        return _with_halves(model, large).SerializeToString()
    expected = _outputs(model)
    for names in (large, [large[0], *lossless]):
        copy = _with_halves(model, names)
        if np.abs(_outputs(copy) - expected).max() <= MOST_CHANGED:
            return copy.SerializeToString()
    return _with_halves(model, lossless).SerializeToString()


def _with_halves(model, names):
    """A copy of a model with these arrays in half precision, and a Cast for each."""
    import onnx
    from onnx import helper, numpy_helper

    copy = onnx.ModelProto.FromString(model.SerializeToString())
    casts = []
    for tensor in copy.graph.initializer:
        if tensor.name in names:
            name, half = tensor.name, f"{tensor.name}_half"
            with np.errstate(over="ignore"):
                array = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(array, half))
            casts.append(helper.make_node("Cast", [half], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    onnx.checker.check_model(copy)
    return copy


def _outputs(model):
    """The outputs of a model on random inputs."""
    import onnxruntime

    contents = model.SerializeToString()
    session = onnxruntime.InferenceSession(contents, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    inputs = {
        each.name: rng.uniform(-1, 1, (CHECKED, *each.shape[1:])).astype("float32")
        for each in session.get_inputs()
    }
    return session.run(None, inputs)[0]
