"""Your own images: how folders are read, what is refused, and scripts that train on them."""

import os
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import assert_one_line_error, load_script, read_json, run_script
from PIL import Image

from lib.cyclegan import domains
from lib.cyclegan.tasks import Task
from lib.data import image_folders
from lib.files import weights
from lib.files.errors import UserError
from lib.run import images

DCGAN = "chapter4-gan/dcgan-mnist-4.2.1.py"
CGAN = "chapter4-gan/cgan-mnist-4.3.1.py"
AUTOENCODER = "chapter3-autoencoders/autoencoder-mnist-3.2.1.py"
TINY = ("--batch-size=2", "--image-size=8")


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """Twelve color images in two class folders, one of them deeper than the others."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "my photos"
    for i in range(6):
        write(folder / "dogs" / f"{i}.png", rng.integers(0, 256, (10, 12, 3), np.uint8))
        write(folder / "cats" / "deep" / f"{i}.bmp", rng.integers(0, 256, (8, 8, 3), np.uint8))
    return folder


def test_images_are_sorted_and_the_folders_are_their_labels(folder):
    x, y, classes = image_folders.read(folder, (8, 8, 3), labels=True)
    assert (x.shape, x.dtype) == ((12, 8, 8, 3), np.uint8)
    assert classes == ["cats", "dogs"]
    assert y.tolist() == [0] * 6 + [1] * 6
    # An image of the right size is not resampled.
    with Image.open(folder / "cats" / "deep" / "3.bmp") as picture:
        np.testing.assert_array_equal(x[3], np.asarray(picture))


@pytest.mark.parametrize("name", ["a.PNG", "a.jpg", "a.jpeg", "a.bmp", "a.gif", "a.webp"])
def test_each_format_and_the_center_of_a_wide_image(tmp_path, name):
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:32] = 200  # the central square
    write(tmp_path / name, pixels)
    x, _, classes = image_folders.read(tmp_path, (8, 8, 1))
    assert classes == [""]
    assert x[0, 1:-1, 1:-1].min() > 180


def test_gray_is_the_luminance(tmp_path):
    write(tmp_path / "a.png", np.full((8, 8, 3), (200, 100, 50), np.uint8))
    x, _, _ = image_folders.read(tmp_path, (8, 8, 1))
    assert x.shape == (1, 8, 8, 1)
    assert np.all(x == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50))


def test_alpha_16_bits_and_exif(tmp_path):
    transparent = np.zeros((8, 8, 4), np.uint8)
    write(tmp_path / "alpha.png", transparent)
    write(tmp_path / "deep.png", np.full((8, 8), 128 * 256, np.uint16))
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be rotated by 90 degrees
    Image.fromarray(upright).save(tmp_path / "rotated.png", exif=exif)
    alpha, deep, rotated = image_folders.read(tmp_path, (8, 8, 1))[0][..., 0]
    assert np.all(alpha == 255)
    assert np.all(deep == 128)
    assert rotated[0].max() < 100 and rotated[-1].min() > 150


def test_a_jpeg_is_not_decoded_smaller_than_needed(tmp_path):
    stripes = np.tile(np.repeat(np.uint8([0, 255]), 4), (64, 8))
    write(tmp_path / "stripes.jpg", stripes)
    x, _, _ = image_folders.read(tmp_path, (32, 32, 1))
    assert x.std() > 80  # an eighth of the size would be gray


def test_damaged_files_are_skipped_and_named_in_one_line(folder, capsys, monkeypatch):
    good = (folder / "dogs" / "1.png").read_bytes()
    (folder / "dogs" / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "dogs" / "text.jpg").write_text("no image")
    (folder / "dogs" / "notes.txt").write_text("ignored")
    (folder / "dogs" / "._1.png").write_text("ignored")
    (folder / "dogs" / "gone.png").symlink_to(folder / "nothing.png")
    os.mkfifo(folder / "dogs" / "pipe.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    write(folder / "dogs" / "bomb.png", np.zeros((40, 40, 3), np.uint8))
    x, _, _ = image_folders.read(folder, (8, 8, 3), labels=True)
    assert len(x) == 12
    (line,) = capsys.readouterr().err.splitlines()
    assert "skipped 5 of 17 files" in line
    for name in ("cut.png", "text.jpg", "gone.png", "pipe.png", "bomb.png"):
        assert name in line
    assert "not a regular file" in line


def test_links_are_followed_once(folder, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "dogs").symlink_to(folder / "dogs")
    (tmp_path / "linked" / "a.png").symlink_to(folder / "dogs" / "0.png")
    (tmp_path / "linked" / "loop").symlink_to(tmp_path / "linked")
    assert len(image_folders.read(tmp_path / "linked", (8, 8, 1))[0]) == 7


def test_images_beside_the_class_folders_are_left_out(folder, capsys):
    write(folder / "stray.png", np.zeros((8, 8), np.uint8))
    assert len(image_folders.read(folder, (8, 8, 1), labels=True)[0]) == 12
    assert "left out 1 images" in capsys.readouterr().err
    assert len(image_folders.read(folder, (8, 8, 1))[0]) == 13


def test_what_identifies_images_changes_with_a_pixel(folder):
    x, y, _ = image_folders.read(folder, (8, 8, 3))
    first = image_folders.describe(folder, x, y)
    assert first["images"] == "my photos"
    assert (first["image_size"], first["color"], first["image_count"]) == (8, True, 12)
    x[0, 0, 0, 0] ^= 1
    assert image_folders.describe(folder, x, y)["image_checksum"] != first["image_checksum"]


def test_too_many_for_the_memory(folder, monkeypatch):
    monkeypatch.setattr(image_folders, "LARGEST_SHARE", 1e-12)
    with pytest.raises(UserError, match="smaller --image-size"):
        image_folders.read(folder, (8, 8, 3))


@pytest.mark.parametrize(
    ("prepare", "parts"),
    [
        (lambda folder: None, ("expected a folder", "found nothing")),
        (lambda folder: folder.write_text("a file"), ("expected a folder", "found a file")),
        (lambda folder: os.mkfifo(folder), ("expected a folder", "found a file")),
        (lambda folder: folder.mkdir(), ("expected images", "found none")),
    ],
)
def test_what_is_no_folder_of_images_is_refused(tmp_path, prepare, parts):
    folder = tmp_path / "missing"
    prepare(folder)
    with pytest.raises(UserError) as error:
        image_folders.read(folder, (8, 8, 1))
    for part in parts:
        assert part in str(error.value)


def test_a_single_class_is_refused(folder):
    with pytest.raises(UserError, match=r"at least 2 class folders .* found 1"):
        image_folders.read(folder / "cats", (8, 8, 1), labels=True)


def test_the_test_images_are_the_same_in_every_run():
    x, y = np.arange(50)[:, None], np.arange(50)
    (x_train, y_train), (x_test, y_test) = image_folders.split(x, y)
    assert (len(x_train), len(x_test)) == (45, 5)
    assert sorted([*y_train, *y_test]) == list(range(50))
    np.testing.assert_array_equal(image_folders.split(x, y)[1][0], x_test)
    assert len(image_folders.split(x, y, shown=8)[1][0]) == 8


def test_a_source_has_enough_images_from_0_to_1(folder):
    write(folder / "dogs" / "white.png", np.full((8, 8, 3), 255, np.uint8))
    args = SimpleNamespace(images=folder, image_size=8, color=True, batch_size=11)
    source = images.Source(args, (28, 28, 1), __file__)
    x, _ = source.train_images(None, least=13)
    assert (x.shape, x.dtype, x.max()) == ((13, 8, 8, 3), np.float32, 1)
    with pytest.raises(UserError, match=r"at least 14 images .* found 13"):
        source.train_images(None, least=14)
    (x_train, _), (x_test, _) = source.split(None, shown=2)
    assert (len(x_train), len(x_test)) == (11, 2)
    assert max(x_train.max(), x_test.max()) == 1
    with pytest.raises(UserError, match=r"at least 14 images .* found 13"):
        source.split(None, shown=3)


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"image_size": 1024, "classes": ["cats", "dogs"]}, True),
        ({"image_size": 1025}, False),
        ({"image_size": 0}, False),
        ({"images": 3}, False),
        ({"color": "yes"}, False),
        ({"classes": "cats"}, False),
        ({"classes": [1]}, False),
    ],
)
def test_the_record_of_a_weight_file_gives_the_shape(tmp_path, changes, fits):
    about = {"images": "photos", "image_size": 8, "color": True, **changes}
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    weights.save(network, tmp_path / "net.h5", about=about)
    args = SimpleNamespace(images=None, generator=str(tmp_path / "net.h5"), evaluate=False)
    if fits:
        size = about["image_size"]
        source = images.Source(args, (28, 28, 1), __file__)
        assert source.shape == (size, size, 3)
        assert source.name("dcgan_mnist") == "dcgan-photos"
    else:
        with pytest.raises(UserError, match="does not record the form of its images"):
            images.Source(args, (28, 28, 1), __file__)


@pytest.mark.parametrize(
    ("script", "flags", "parts"),
    [
        (DCGAN, ("--color",), ("--color needs --images",)),
        (DCGAN, ("--images=a", "--image-size=30"), ("multiple of 4", "'30'")),
        (DCGAN, ("--images=a", "--evaluate"), ("MNIST digits only",)),
        (DCGAN, ("--images=a", "--generator=b.h5"), ("leave out --images",)),
        (CGAN, ("--images=a", "--digit=3"), ("--digit are for MNIST",)),
        ("chapter7-cross-domain-gan/cyclegan-7.1.1.py", ("--images", "a"), ("expected 2",)),
        (
            "chapter7-cross-domain-gan/cyclegan-7.1.1.py",
            ("--images", "a", "b", "--cifar10"),
            ("expected one task", "found both"),
        ),
    ],
)
def test_flags_that_do_not_go_together(script, flags, parts, monkeypatch, capsys):
    module = load_script(script)
    monkeypatch.setattr(sys, "argv", [script, *flags])
    with pytest.raises(SystemExit) as stop:
        module.parse_args()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in parts:
        assert part in line


def test_both_domains_of_a_cyclegan(folder):
    task = Task("images", folders=(folder / "cats", folder / "dogs"), size=8, channels=1)
    for name in ("cats", "dogs"):
        for i in range(10, 20):
            write(folder / name / f"{i}.png", np.full((8, 8, 3), i, np.uint8))
    (source, target), held_out = domains.load(task, batch_size=2)
    assert source.shape == target.shape == (8, 8, 8, 1)
    assert held_out.source.shape == (8, 8, 8, 1)
    assert held_out.names == ("cats", "dogs")
    assert held_out.record["image_count"] == [16, 16]
    assert task.model_name == "cyclegan-cats-dogs"
    # A batch of 8 and 8 test images are all there are.
    domains.load(task, batch_size=8)
    with pytest.raises(UserError, match=r"at least 17 images .* found 16"):
        domains.load(task, batch_size=9)


@pytest.mark.parametrize(("size", "fits"), [(16, True), (20, False), (10**6, False), ("a", False)])
def test_a_cyclegan_takes_size_and_color_from_its_file(tmp_path, size, fits):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    path = tmp_path / "g_source.h5"
    weights.save(network, path, about={"image_size": size, "color": True})
    task = Task("images", channels=1)
    if fits:
        found = task.with_recorded(path)
        assert (found.size, found.channels) == (16, 3)
    else:
        with pytest.raises(UserError, match="no usable size"):
            task.with_recorded(path)


def test_dcgan_trains_resumes_and_draws(folder, tmp_path, data_dir):
    flags = (*TINY, "--images", folder, "--color", "--train-steps")
    done = run_script(DCGAN, *flags, 2, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    about = weights.about(tmp_path / "dcgan-my_photos.h5")
    assert (about["images"], about["image_size"], about["color"]) == ("my photos", 8, True)
    assert not (tmp_path / "dcgan_mnist.h5").exists()
    metrics = read_json(tmp_path / "dcgan-my_photos" / "metrics.json")
    assert metrics["image_count"] == 12

    done = run_script(DCGAN, "--generator=dcgan-my_photos.h5", folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "dcgan-my_photos" / "generated.png") as drawn:
        assert drawn.mode == "RGB"
    flags_of_the_file = ("--generator=dcgan-my_photos.h5", "--evaluate")
    done = run_script(DCGAN, *flags_of_the_file, folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "MNIST digits only")

    write(folder / "cats" / "new.png", np.zeros((8, 8, 3), np.uint8))
    done = run_script(DCGAN, *flags, 3, "--resume", folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "restart.npz", "image_count 12")


def test_cgan_draws_a_class(folder, tmp_path, data_dir):
    flags = (*TINY, "--images", folder, "--train-steps=2")
    done = run_script(CGAN, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    flags = ("--generator=cgan-my_photos.h5", "--class")
    done = run_script(CGAN, *flags, "dogs", folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cgan-my_photos" / "generated-dogs.png").exists()
    done = run_script(CGAN, *flags, "cows", folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "no class 'cows'", "cats, dogs")


def test_autoencoder_trains_and_its_weights_need_their_images(folder, tmp_path, data_dir):
    flags = (*TINY, "--images", folder, "--color")
    done = run_script(AUTOENCODER, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    file = "--weights=autoencoder-my_photos.h5"
    done = run_script(AUTOENCODER, file, *flags, folder=tmp_path, data=data_dir)
    assert done.returncode == 0, done.stderr
    measured = read_json(tmp_path / "autoencoder-my_photos" / "evaluation.json")
    assert measured["test_images"] == 8
    done = run_script(AUTOENCODER, file, folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "my photos", "--images FOLDER --image-size 8 --color")
    flags = ("--batch-size=64", "--image-size=8", "--images", folder)
    done = run_script(AUTOENCODER, *flags, folder=tmp_path, data=data_dir)
    assert_one_line_error(done, "expected at least 72 images", "found 12", "--batch-size")
