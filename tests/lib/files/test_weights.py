"""Weight files: writing, reading, and refusals that leave the network unchanged."""

import os
import shutil
import zipfile

import fuzz_weights
import h5py
import keras
import numpy as np
import pytest
from keras import layers

from lib.files import weights
from lib.files.errors import UserError

FORMATS = (".h5", ".weights.h5", ".keras")


def build(outputs=2, more=False):
    """A network with each kind of state: weights, moving statistics, dropout's seed.

    `more` adds a layer at its end. All other layers fit a file of the smaller network.
    """
    inputs = keras.Input((3,))
    x = layers.Dense(4, activation="relu")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(outputs)(x)
    if more:
        x = layers.Dense(outputs)(x)
    return keras.Model(inputs, x, name="net")


def build_nested(frozen=False):
    """Two batch normalizations in a sub-model: a wrong order of their arrays keeps all shapes."""
    inputs = keras.Input((4,))
    x = layers.BatchNormalization()(inputs)
    x = layers.BatchNormalization()(x)
    inner = keras.Model(inputs, x, name="inner")
    inner.trainable = not frozen
    inputs = keras.Input((3,))
    return keras.Model(inputs, layers.Dense(2)(inner(layers.Dense(4)(inputs))), name="outer")


def randomized(model, seed=1):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.5, 1.5, v.shape) for v in model.weights])
    return model


def write(model, path):
    """Saves by Keras only, in the format of the name of `path`."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def write_keras_2(model, path, text):
    """Writes a weights-only .h5 as Keras 2 did; `text` makes the type of the names in it."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [text(layer.name) for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [text(name) for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group[name] = keras.ops.convert_to_numpy(variable)
    return path


def outputs(model):
    x = np.random.default_rng(0).normal(size=(5, *model.input_shape[1:])).astype("float32")
    return keras.ops.convert_to_numpy(model(x, training=False))


def assert_equal_weights(model, arrays):
    for mine, its in zip(model.get_weights(), arrays, strict=True):
        np.testing.assert_array_equal(mine, its)


def refusal(model, path):
    """The message that refuses `path`, after a check that `model` is as it was before."""
    former = model.get_weights()
    with pytest.raises(UserError) as error:
        weights.load(model, path)
    assert_equal_weights(model, former)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.fixture
def bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("make", [build, build_nested])
def test_a_saved_and_loaded_network_computes_the_same(tmp_path, make):
    saved = randomized(make())
    weights.save(saved, tmp_path / "net.h5")
    loaded = randomized(make(), seed=2)
    weights.load(loaded, tmp_path / "net.h5")
    np.testing.assert_array_equal(outputs(loaded), outputs(saved))


def test_weights_of_a_frozen_sub_model_load_into_one_that_is_not(tmp_path):
    # The format lists the arrays of a frozen model in another order.
    saved = randomized(build_nested(frozen=True))
    weights.save(saved, tmp_path / "net.h5")
    loaded = build_nested()
    weights.load(loaded, tmp_path / "net.h5")
    np.testing.assert_array_equal(outputs(loaded), outputs(saved))


def test_keras_opens_a_saved_file_without_this_project(tmp_path):
    saved = randomized(build())
    weights.save(saved, tmp_path / "net.h5")
    np.testing.assert_array_equal(
        outputs(keras.models.load_model(tmp_path / "net.h5")), outputs(saved)
    )


def test_keras_opens_a_file_trained_with_a_loss_of_ours(tmp_path):
    def our_loss(target, output):
        return keras.ops.mean((target - output) ** 2)

    trained = build()
    trained.compile("adam", our_loss)
    weights.save(trained, tmp_path / "net.h5")
    opened = keras.models.load_model(tmp_path / "net.h5")
    np.testing.assert_array_equal(outputs(opened), outputs(trained))


@pytest.mark.parametrize("make", [build, build_nested])
def test_a_model_trained_in_mixed_precision_is_saved_with_float32_layers(tmp_path, make, bfloat16):
    trained = make()
    trained.compile("sgd", "mean_squared_error")
    trained.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    weights.save(trained, tmp_path / "net.h5")

    keras.config.set_dtype_policy("float32")
    opened = keras.models.load_model(tmp_path / "net.h5")
    policies = {layer.dtype_policy.name for layer in opened._flatten_layers(include_self=False)}
    assert policies == {"float32"}
    assert_equal_weights(opened, trained.get_weights())
    same = make()
    same.set_weights(trained.get_weights())
    np.testing.assert_array_equal(outputs(opened), outputs(same))


def test_saving_leaves_the_model_in_mixed_precision(tmp_path, bfloat16):
    model = build()
    weights.save(model, tmp_path / "net.h5")
    assert model.layers[1].dtype_policy.name == "mixed_bfloat16"


def test_saving_replaces_the_former_file(tmp_path):
    weights.save(randomized(build(), seed=1), tmp_path / "net.h5")
    saved = randomized(build(), seed=2)
    weights.save(saved, tmp_path / "net.h5")
    loaded = build()
    weights.load(loaded, tmp_path / "net.h5")
    assert_equal_weights(loaded, saved.get_weights())
    assert os.listdir(tmp_path) == ["net.h5"]


def test_a_save_that_fails_midway_leaves_the_former_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "net.h5"
    weights.save(randomized(build()), path)
    former = path.read_bytes()

    def half(path, contents):
        with path.open("wb") as file:
            file.write(contents[: len(contents) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", half)
    with pytest.raises(UserError, match=f"{path}.*No space left on device"):
        weights.save(build(), path)
    assert path.read_bytes() == former
    assert os.listdir(tmp_path) == ["net.h5"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("make", [build, build_nested])
def test_files_that_keras_wrote_load(tmp_path, suffix, make):
    saved = randomized(make())
    # The file of a compiled model also has the state of its optimizer.
    saved.compile("adam", "mean_squared_error")
    saved.optimizer.build(saved.trainable_variables)
    loaded = make()
    weights.load(loaded, write(saved, tmp_path / f"net{suffix}"))
    np.testing.assert_array_equal(outputs(loaded), outputs(saved))


@pytest.mark.parametrize("text", [str, str.encode], ids=["str", "bytes"])
def test_weights_that_keras_2_wrote_load(tmp_path, text):
    saved = randomized(build())
    loaded = build()
    weights.load(loaded, write_keras_2(saved, tmp_path / "net.h5", text))
    np.testing.assert_array_equal(outputs(loaded), outputs(saved))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_loads_into_a_model_of_mixed_precision(tmp_path, suffix, bfloat16):
    keras.config.set_dtype_policy("float32")
    saved = randomized(build())
    path = write(saved, tmp_path / f"net{suffix}")
    keras.config.set_dtype_policy("mixed_bfloat16")
    loaded = build()
    weights.load(loaded, path)
    assert_equal_weights(loaded, saved.get_weights())


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_missing_file_is_named(tmp_path, suffix):
    assert "no weight file" in refusal(build(), tmp_path / f"net{suffix}")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    path = write(build(), tmp_path / f"net{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "is damaged: expected a readable .h5 or .keras file" in refusal(build(), path)


def test_a_text_file_named_h5_is_refused(tmp_path):
    path = tmp_path / "net.h5"
    path.write_text("<html>404 Not Found</html>")
    assert "is damaged: expected a readable .h5 or .keras file" in refusal(build(), path)


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros(1))
    assert "model.weights.h5" in refusal(build(), tmp_path / "data.npz")


def test_an_h5_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(1)
    assert "holds no Keras weights; expected those of 'net'" in refusal(
        build(), tmp_path / "data.h5"
    )


def test_an_h5_of_another_network_is_refused_with_both_shapes(tmp_path):
    path = write(build(outputs=5), tmp_path / "net.h5")
    message = refusal(build(), path)
    assert "another network" in message
    assert "expected shape (4, 2)" in message
    assert "found (4, 5)" in message


OTHERS = {
    "shape": (build, {"outputs": 5}),
    "smaller": (build, {}),
    "larger": (build, {"more": True}),
    "nested": (build_nested, {}),
}


# Keras warns in many lines where it cannot load a file. The user must see only one.
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("other", OTHERS)
def test_a_file_of_another_network_is_refused_without_a_warning(tmp_path, suffix, other):
    make, arguments = OTHERS[other]
    path = write(make(**arguments), tmp_path / f"other{suffix}")
    refusal(build(more=other == "smaller"), path)


@pytest.fixture
def script(tmp_path):
    """The path of a script with a weight file in weights/ beside it."""
    folder = tmp_path / "chapter"
    (folder / "weights").mkdir(parents=True)
    for name in ("b.h5", "a.h5"):
        (folder / "weights" / name).touch()
    return folder / "script.py"


def test_find_prefers_the_file_as_given(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(script.parent / "weights" / "a.h5", tmp_path)
    assert weights.find("a.h5", script).resolve() == tmp_path / "a.h5"


def test_find_looks_beside_the_script(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert weights.find("a.h5", script) == script.parent / "weights" / "a.h5"


def test_find_lists_what_is_there_when_it_finds_nothing(script):
    with pytest.raises(UserError, match=r"'c.h5'.*chapter/weights \(there: a.h5, b.h5\)"):
        weights.find("c.h5", script)


def test_find_takes_no_folder_for_a_file(script, tmp_path):
    with pytest.raises(UserError, match="no weight file"):
        weights.find(str(tmp_path), script)


def test_half_precision_halves_the_file_and_keeps_three_digits(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((200,)), layers.Dense(300), layers.Dense(5)])
    for name, half in (("whole.h5", False), ("half.h5", True)):
        weights.save(model, tmp_path / name, half=half)
    sizes = [(tmp_path / name).stat().st_size for name in ("half.h5", "whole.h5")]
    assert sizes[0] < 0.6 * sizes[1]
    expected = model.get_weights()
    opened = keras.models.load_model(tmp_path / "half.h5", compile=False)
    weights.load(model, tmp_path / "half.h5")
    for a, b, c in zip(expected, model.get_weights(), opened.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
        np.testing.assert_array_equal(b, c)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["half.h5", "whole.h5"]


def test_damaged_files_are_refused_in_one_line(tmp_path):
    outcomes = fuzz_weights.try_files(32, seed=1, folder=tmp_path)
    # The bytes of a file vary from run to run, and with them what the damage hits.
    assert outcomes["refused"] >= 8


def test_a_changed_bit_in_a_file_of_ours_is_found_by_its_checksum(tmp_path):
    path = tmp_path / "net.h5"
    weights.save(build(), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "do not match its checksum" in refusal(build(), path)


def test_values_that_are_not_finite_are_refused(tmp_path):
    model = build()
    model.set_weights([np.full(w.shape, np.nan) for w in model.get_weights()])
    model.save(tmp_path / "net.h5")
    assert "not finite" in refusal(build(), tmp_path / "net.h5")


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing"])
def test_what_is_not_a_file_is_refused(tmp_path, kind):
    path = tmp_path / "net.h5"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "nothing")
    assert "no weight file" in refusal(build(), path)


def test_huge_arrays_and_archives_are_refused(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        # Claims 4 TB and stores nothing.
        file.create_dataset("layers/a", shape=(2**20, 2**20), dtype="float32", chunks=(1024, 1024))
    assert "arrays of more than 64 MB" in refusal(build(), tmp_path / "huge.h5")
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
        # The directory of the archive, written at its end, has this size.
        archive.getinfo("model.weights.h5").file_size = 2**31 + 1
    message = refusal(build(), tmp_path / "bomb.keras")
    assert "more than 64 MB in an archive" in message
