"""The training steps for the browser make the steps that Keras makes."""

import base64
import sys

import numpy as np
import pytest
from conftest import ROOT, read_json

from lib.run import export

for package in export.PACKAGES:
    pytest.importorskip(package, reason="requirements-dev.txt is not installed")

from exported import keras_steps, live_once, shared_folder  # noqa: E402

sys.path.insert(0, str(ROOT / "site"))
import live_training  # noqa: E402

pytestmark = pytest.mark.xdist_group("explorer")  # with the tests that use the same files


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """The folder of the exported steps."""
    return live_once(shared_folder(tmp_path_factory))


@pytest.mark.parametrize("name", live_training.EXPERIMENTS)
def test_a_hundred_steps_are_those_of_keras(live, name):
    import onnxruntime

    about = read_json(live / "live.json")[name]
    first, inputs, results, last = keras_steps(name, live)
    session = onnxruntime.InferenceSession(
        live / f"{name}-step.onnx", providers=["CPUExecutionProvider"]
    )
    state, found = first, []
    for start in range(0, 100, 10):  # ten steps in a call
        rows = {key: array[start : start + 10] for key, array in inputs.items()}
        names = [each.name for each in session.get_outputs()]
        outputs = dict(zip(names, session.run(None, {**state, **rows}), strict=True))
        state = {key: outputs.get(f"{key}_next", value) for key, value in state.items()}
        found.append(outputs["loss"])
    np.testing.assert_allclose(np.concatenate(found), results["loss"], rtol=1e-4)
    for key, expected in last.items():
        np.testing.assert_allclose(state[key], expected, atol=1e-4, err_msg=key)
    difference = max(np.abs(state[key] - expected).max() for key, expected in last.items())
    print(f"{name}: differs from Keras by at most {difference:.1e} after 100 steps")
    changed = [key for key in last if not np.array_equal(first[key], last[key])]
    assert len(changed) == len(about["assigned"])


@pytest.mark.parametrize("name", live_training.EXPERIMENTS)
def test_a_frame_with_weights_is_a_weight_file(live, name, tmp_path):
    from lib.files import weights

    experiment = live_training.EXPERIMENTS[name]()
    frame = read_json(live / f"{name}-frame.json")
    contents = bytearray(frame["size"])
    for offset, text in frame["pieces"]:
        piece = base64.b64decode(text)
        contents[offset : offset + len(piece)] = piece
    expected = [np.full(v.shape, i + 1, "<f4") for i, v in enumerate(experiment.saved.weights)]
    for (offset, size), array in zip(frame["arrays"], expected, strict=True):
        contents[offset : offset + size] = array.tobytes()
    file = tmp_path / "trained.h5"
    file.write_bytes(contents)
    weights.load(experiment.saved, file)
    assert weights.about(file) == experiment.about
    for variable, array in zip(experiment.saved.weights, expected, strict=True):
        np.testing.assert_array_equal(variable.numpy(), array)


def test_an_operation_without_a_translation_is_named():
    import export_steps
    import tensorflow as tf

    x = export_steps.spec("x")
    step = export_steps.trace(lambda x: {"output": tf.math.lgamma(x)}, x, [])
    with pytest.raises(Exception, match="Lgamma"):
        export_steps.convert(step)
