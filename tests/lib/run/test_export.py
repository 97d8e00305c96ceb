"""Exported networks compute what Keras computes; what cannot be exported is one clear line."""

import argparse
import importlib.util
import sys

import numpy as np
import pytest
from conftest import ROOT, assert_one_line_error, load_script, run_script

from lib.files import weights
from lib.files.errors import UserError
from lib.run import export, program
from tools import networks

DQN = "chapter9-drl/dqn-cartpole-9.6.1.py"

pytest.importorskip("tf2onnx", reason="requirements-export.txt is not installed")
pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from exported import export_once, networks_of, shared_folder  # noqa: E402


@pytest.fixture
def shared(tmp_path_factory):
    return shared_folder(tmp_path_factory)


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


# Another network has the kinds of layers of these; `python3 -m tools.networks` checks all networks.
SIMILAR = {
    "cifar10_resnet56v2",
    "cifar10_densenet100k12",
    "cyclegan_cifar10_plain",
    "cyclegan_mnist_m_plain",
    "beta-cvae_cnn_mnist",
    "beta12-cvae_cnn_mnist",
    "ddqn_cartpole",
}


@pytest.mark.parametrize("name", [name for name in networks.PRETRAINED if name not in SIMILAR])
def test_a_file_differs_from_keras_by_less_than_the_tolerance(name, shared):
    differences = export_once(name, shared)
    assert export.CHECKED == 100
    assert all(difference < 1e-4 for difference in differences.values())
    for path in differences:
        network = session(path)
        tensors = [*network.get_inputs(), *network.get_outputs()]
        assert all(tensor.shape[0] == "batch" for tensor in tensors)
        assert all(tensor.type == "tensor(float)" for tensor in tensors)


def test_every_pretrained_file_is_exported_or_belongs_to_training():
    flags = [flag for row in networks.PRETRAINED.values() for flag in row.flags.split()]
    exported = {flag.rpartition("=")[2].rpartition("/")[2] for flag in flags if ".h5" in flag}
    shipped = {path.name for path in ROOT.glob("chapter*/weights/*.h5")}
    assert exported <= shipped
    # Only training needs the value network.
    assert {file for file in shipped - exported if not file.endswith("_value.h5")} == set()


def test_inputs_and_outputs_have_names(shared):
    (path,) = export_once("infogan_mnist", shared)
    network = session(path)
    assert [x.name for x in network.get_inputs()] == ["noise", "labels", "code1", "code2"]
    assert [x.name for x in network.get_outputs()] == ["output"]
    encoder, _ = export_once("vae_mlp_mnist", shared)
    assert [x.name for x in session(encoder).get_outputs()] == ["z_mean", "z_log_var"]


@pytest.mark.parametrize("count", [1, 3])
def test_the_batch_size_is_free(count, shared):
    (path,) = export_once("dcgan_mnist", shared)
    (images,) = session(path).run(None, {"noise": np.zeros((count, 100), "float32")})
    assert images.shape == (count, 28, 28, 1)


def test_a_script_exports_its_network(tmp_path):
    done = run_script(DQN, "-d", "--export", "new/q.onnx", folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "differs from Keras by at most" in done.stdout
    (values,) = session(tmp_path / "new/q.onnx").run(None, {"states": np.zeros((1, 4), "f")})
    expected = networks_of("ddqn_cartpole")[""](np.zeros((1, 4), "f"))
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_a_script_exports_the_weights_that_a_flag_names(tmp_path):
    network = load_script(DQN).build_q_network(4, 2)
    weights.save(network, tmp_path / "own.h5")
    flags = ("--export=q.onnx", "--weights=own.h5")
    done = run_script(DQN, *flags, folder=tmp_path, data=tmp_path)
    assert done.returncode == 0, done.stderr
    states = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    (values,) = session(tmp_path / "q.onnx").run(None, {"states": states})
    np.testing.assert_allclose(values, network.predict(states, verbose=0), atol=1e-5)
    flags = ("--export=q.onnx", "--weights=missing.h5")
    done = run_script(DQN, *flags, folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "no weight file 'missing.h5'")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--export=d.h5"], "expected a file name that ends in .onnx, found 'd.h5'"),
        (["--export=d.onnx", "--images=."], "--export writes trained weights; leave out --images"),
    ],
)
def test_wrong_flags_are_one_line(flags, message, tmp_path):
    done = run_script("chapter4-gan/dcgan-mnist-4.2.1.py", *flags, folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, message)


@pytest.mark.parametrize("package", export.PACKAGES)
def test_a_missing_package_is_one_line(package, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(UserError, match=f"the package {package}.*requirements-export.txt"):
        export.check_packages()


def test_an_unknown_name_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["export.py"])
    args = argparse.Namespace(names=["dcgan"], output_dir=tmp_path)
    with pytest.raises(SystemExit) as stopped:
        program.run(networks.main, args)
    assert stopped.value.code == 2
    assert "no pretrained network 'dcgan'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    args = argparse.Namespace(names=["dqn_cartpole"], output_dir=tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot write to '.*file': File exists"):
        networks.main(args)


def test_a_network_that_differs_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "difference", lambda *_: float("nan"))
    with pytest.raises(UserError, match="differs from Keras by nan"):
        networks.export_all(["dqn_cartpole"], tmp_path)


CAR, CYCLE = "policygradient-car-10.1.1.py", "cyclegan-7.1.1.py"
CHOICES = {
    "resnet-cifar10-2.2.1.py": {"cifar10_resnet20v1.h5"},
    "resnet-cifar10-2.2.1.py --n 6 --version 2 --weights=cifar10_resnet56v2.h5": {
        "cifar10_resnet56v2.h5"
    },
    f"{CAR} -c": {"car_encoder.h5", "car_a2c_actor.h5"},
    f"{CYCLE} --cifar10": {f"cyclegan_cifar10-g_{side}.h5" for side in ("source", "target")},
    f"{CYCLE} --mnist-svhn --target mnist-m --no-patchgan": {
        f"cyclegan_mnist_m_plain-g_{side}.h5" for side in ("source", "target")
    },
}


@pytest.mark.parametrize("command", CHOICES)
def test_the_flags_choose_the_weights(command, monkeypatch, tmp_path):
    load, loaded = weights.load, set()

    def note(network, path, *args, **kwargs):
        loaded.add(path.name)
        return load(network, path, *args, **kwargs)

    monkeypatch.setattr(weights, "load", note)
    monkeypatch.setattr(export, "write", lambda *args, **kwargs: {})
    networks.export_with(command, tmp_path / "network.onnx")
    assert loaded == CHOICES[command]


def test_a_cycle_without_pretrained_weights_is_one_line(tmp_path):
    script = "chapter7-cross-domain-gan/cyclegan-7.1.1.py"
    done = run_script(script, "--mnist-svhn", "--export=c.onnx", folder=tmp_path, data=tmp_path)
    assert_one_line_error(done, "cyclegan_mnist_svhn")
