"""What a reader edits at the top of a script takes effect, or is refused in one line."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import assert_one_line_error, load_script, numbers, run_script

from lib.cyclegan.tasks import Task
from lib.files.errors import UserError
from lib.measure import plots
from lib.run.images import Source

RESNET = "chapter2-deep-networks/resnet-cifar10-2.2.1.py"
PLAIN = "chapter3-autoencoders/autoencoder-mnist-3.2.1.py"
TWO_DIM = "chapter3-autoencoders/autoencoder-2dim-mnist-3.2.2.py"
DENOISING = "chapter3-autoencoders/denoising-autoencoder-mnist-3.3.1.py"
COLORIZATION = "chapter3-autoencoders/colorization-autoencoder-cifar10-3.4.1.py"
DCGAN = "chapter4-gan/dcgan-mnist-4.2.1.py"
CGAN = "chapter4-gan/cgan-mnist-4.3.1.py"
INFOGAN = "chapter6-disentangled-gan/infogan-mnist-6.1.1.py"
CYCLEGAN = "chapter7-cross-domain-gan/cyclegan-7.1.1.py"
VAE = "chapter8-vae/vae-cnn-mnist-8.1.2.py"
CVAE = "chapter8-vae/cvae-cnn-mnist-8.2.1.py"


def convolutions(model):
    """(filters, stride) of each convolution."""
    kinds = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    return [(x.filters, x.strides[0]) for x in model.layers if isinstance(x, kinds)]


@pytest.mark.parametrize(
    "path, filters",
    [*((p, (8,)) for p in (PLAIN, TWO_DIM, DENOISING, VAE, CVAE)), (COLORIZATION, (4, 8, 8, 8))],
)
def test_an_autoencoder_of_another_depth_returns_the_size_it_gets(path, filters):
    script = load_script(path)
    script.FILTERS = filters
    latent = (2,) if path in (VAE, CVAE) else ()
    decoder = script.build_decoder(*latent)
    assert decoder.output_shape[1:3] == script.build_encoder(*latent).inputs[0].shape[1:3]
    halved = [(f, 2) for f in reversed(filters)]
    assert convolutions(decoder) == [*halved, (decoder.output_shape[-1], 1)]


@pytest.mark.parametrize("path", [PLAIN, VAE, CVAE])
def test_a_size_that_cannot_be_halved_so_often_is_refused(path, tmp_path, data_dir):
    edits = {"FILTERS": (8, 8, 8)}
    done = run_script(path, folder=tmp_path, data=data_dir, edits=edits)
    assert_one_line_error(done, "28 x 28 pixels", "a multiple of 8", "3 times")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "path, name, value, part",
    [
        (INFOGAN, "CODE_PRIOR", "normal", "--code-prior: expected one of uniform, gaussian"),
        (RESNET, "VERSION", 3, "--version: expected one of 1, 2, found '3'"),
    ],
)
def test_a_constant_that_is_no_choice_of_its_flag_is_refused(
    path, name, value, part, monkeypatch, capsys
):
    script = load_script(path)
    monkeypatch.setattr("sys.argv", [path])
    setattr(script, name, value)
    with pytest.raises(SystemExit) as stop:
        script.parse_args()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name}, the default of {part}" in line


def test_networks_for_another_size_than_the_digits_need_images(tmp_path):
    args = SimpleNamespace(images=None, generator=None, evaluate=False, batch_size=2)
    digits = np.zeros((4, 28, 28, 1), "float32"), np.zeros(4, "int64")
    source = Source(args, (32, 32, 1), tmp_path / "script.py")
    for take in (source.split, lambda book: source.train_images(book, least=2)):
        with pytest.raises(UserError, match=r"have the shape \(28, 28, 1\).*give --images"):
            take(lambda: (digits, digits))


def test_codes_that_are_no_plane_are_not_drawn(tmp_path, capsys):
    script = load_script(TWO_DIM)
    script.LATENT_SIZE = 3
    script.draw(None, None, None, None, None, tmp_path)
    assert "3 numbers, not 2" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert plots.is_plane(2) and capsys.readouterr().out == ""


@pytest.mark.parametrize("path", [DCGAN, CGAN])
def test_a_gan_has_as_many_layers_as_filters(path):
    script = load_script(path)
    script.GENERATOR_FILTERS, script.DISCRIMINATOR_FILTERS = (16, 8, 8, 4), (4, 8, 8, 16, 16)
    generator = script.build_generator()
    assert generator.output_shape == (None, 28, 28, 1)
    assert convolutions(generator) == [(16, 2), (8, 2), (8, 1), (4, 1), (1, 1)]
    strides = [(4, 2), (8, 2), (8, 2), (16, 1), (16, 1)]
    assert convolutions(script.build_discriminator()) == strides


@pytest.mark.parametrize("filters", [(8, 16), (8, 8, 16, 16, 32)])
def test_a_cyclegan_of_another_depth_pairs_its_levels(filters):
    script = load_script(CYCLEGAN)
    script.ENCODER_FILTERS = filters
    to_gray, to_color = script.build_generators(Task("cifar10"))
    assert to_gray.output_shape == (None, 32, 32, 1) and to_color.output_shape == (None, 32, 32, 3)
    up = [(f, 2) for f in filters[-2::-1]]
    assert convolutions(to_gray)[len(filters) :] == [*up, (1, 1)]


@pytest.mark.parametrize("count", [1, 3])
def test_an_infogan_recovers_each_of_its_codes(count):
    script = load_script(INFOGAN)
    script.NUM_CODES = count
    model = script.build_infogan(seed=0)
    rng = np.random.default_rng(0)
    images = rng.random((2, 4, 28, 28, 1), "float32")
    labels = np.eye(10, dtype="float32")[:4]
    given = script.sample_codes(rng, 4, "uniform")
    assert len(given) == count == len(model.discriminator.outputs) - 2
    assert len(model.generator.inputs) == 2 + count

    def loss(codes):
        return numbers(model.generator_loss(images[1], labels, codes)[2])

    for i in range(count):
        changed = [code + 1 if j == i else code for j, code in enumerate(given)]
        assert abs(loss(changed) - loss(given)) > 0.01


def test_each_code_of_an_infogan_has_flags(monkeypatch):
    script = load_script(INFOGAN)
    script.NUM_CODES = 3
    monkeypatch.setattr("sys.argv", ["infogan", "--code3=0.5", "--p3"])
    args = script.parse_args()
    assert (args.code1, args.code2, args.code3) == (None, None, 0.5)
    assert (args.p1, args.p2, args.p3) == (False, False, True)
