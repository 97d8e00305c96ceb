"""Measures against closed forms, and the judge of digits against the real ones."""

import keras
import numpy as np
import pytest
from conftest import need_data_set
from scipy import linalg

from lib.measure import digit_attributes, digit_quality


def gaussian(mean, covariance, n=50, seed=0):
    """n points whose sample mean and covariance are exactly the given ones."""
    x = np.random.default_rng(seed).normal(size=(n, len(mean)))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def covariance(seed, size=4):
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T + 0.1 * np.eye(size)


def test_frechet_distance_of_commuting_gaussians_is_that_of_their_deviations():
    # (1 - 4)^2 + (0 - 4)^2, and the deviations (2, 3) and (5, 7): 3^2 + 4^2.
    a = gaussian([1, 0], np.diag([4, 9]), n=20, seed=1)
    b = gaussian([4, 4], np.diag([25, 49]), n=30, seed=2)
    assert digit_quality.frechet_distance(a, b) == pytest.approx(25 + 25)


def test_frechet_distance_is_the_formula_with_the_square_root_of_a_matrix():
    mean_a, mean_b = np.array([1, 2, 3, 4]), np.array([0, 2, 5, 4])
    cov_a, cov_b = covariance(1), covariance(2)
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(
        cov_a + cov_b - 2 * linalg.sqrtm(cov_a @ cov_b)
    )
    found = digit_quality.frechet_distance(gaussian(mean_a, cov_a), gaussian(mean_b, cov_b, seed=1))
    assert found == pytest.approx(expected)


def test_frechet_distance_is_zero_for_the_same_features():
    features = gaussian([1, 2, 3, 4], covariance(1))
    assert digit_quality.frechet_distance(features, features) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_is_symmetric():
    a, b = gaussian([1, 2, 3, 4], covariance(1)), gaussian([0, 0, 0, 0], covariance(2))
    assert digit_quality.frechet_distance(a, b) == pytest.approx(
        digit_quality.frechet_distance(b, a)
    )


def test_frechet_distance_accepts_features_that_are_always_zero():
    # The judge has such features on few images. The covariances are then singular.
    a, b = np.zeros((10, 6), "float32"), np.zeros((10, 6), "float32")
    a[:, :2] = gaussian([0, 0], np.eye(2), n=10)
    b[:, :2] = gaussian([3, 4], np.eye(2), n=10)
    assert digit_quality.frechet_distance(a, b) == pytest.approx(25, rel=1e-4)


def test_entropy_of_a_uniform_histogram_is_the_logarithm_of_its_size():
    assert digit_quality.entropy([7] * 10) == pytest.approx(np.log(10))
    assert digit_quality.entropy([3, 0, 3]) == pytest.approx(np.log(2))


def test_entropy_of_a_single_class_is_zero_without_a_sign():
    assert str(digit_quality.entropy([0, 5, 0])) == "0.0"


# Distances between sets of features


def test_kernel_distance_of_two_points_is_that_of_the_kernel():
    # With d = 2, k(0, 0) = 1, k(x, x) = (2 / 2 + 1)^3 = 8 and k(0, x) = 1: 1 + 8 - 2 = 7.
    kid, error = digit_quality.kernel_distance(np.zeros((40, 2)), np.ones((40, 2)))
    assert kid == pytest.approx(7)
    assert error == pytest.approx(0, abs=1e-12)


def test_kernel_distance_is_the_mean_over_blocks_and_its_standard_error():
    a, b = np.random.default_rng(0).normal(size=(2, 12, 5)) + np.array([0, 1])[:, None, None]

    def unbiased(x, y):
        def mean(u, v, pairs):
            return np.mean([(u[i] @ v[j] / 5 + 1) ** 3 for i, j in pairs])

        others = [(i, j) for i in range(4) for j in range(4) if i != j]
        all_pairs = [(i, j) for i in range(4) for j in range(4)]
        return mean(x, x, others) + mean(y, y, others) - 2 * mean(x, y, all_pairs)

    values = [unbiased(a[i : i + 4], b[i : i + 4]) for i in (0, 4, 8)]
    kid, error = digit_quality.kernel_distance(a, b, blocks=3)
    assert kid == pytest.approx(np.mean(values))
    assert error == pytest.approx(np.std(values, ddof=1) / np.sqrt(3))


def test_kernel_distance_of_equal_distributions_is_zero_within_its_error():
    a, b = np.random.default_rng(0).normal(size=(2, 4000, 6))
    kid, error = digit_quality.kernel_distance(a, b)
    assert abs(kid) < 3 * error < 0.1
    moved, error = digit_quality.kernel_distance(a, b + 0.5)
    assert moved > 10 * error


def test_kernel_distance_needs_two_blocks_of_two():
    assert digit_quality.kernel_distance(np.zeros((4, 2)), np.zeros((9, 2))) == (0, 0)
    with pytest.raises(ValueError, match="at least 4 features of each kind, found 3"):
        digit_quality.kernel_distance(np.zeros((3, 2)), np.zeros((9, 2)))


def test_neighbor_scores_of_points_on_a_line():
    # The radii of the real balls for k = 1 are 1, 1 and 4, those of the fake balls 0.5, 0.5, 96.
    real, fake = np.array([[0.0], [1], [5]]), np.array([[0.5], [1], [97]])
    found = digit_quality.neighbor_scores(real, fake, neighbors=1)
    # 97 is in none of the real balls.
    assert found["sample_precision"] == pytest.approx(2 / 3)
    assert found["sample_recall"] == 1
    found = digit_quality.neighbor_scores(real, fake[:2], neighbors=1)
    # Only 0 and 1 are within 0.5 of a fake point.
    assert found["sample_recall"] == pytest.approx(2 / 3)


def test_neighbor_scores_against_all_pairs(monkeypatch):
    monkeypatch.setattr(digit_quality, "ROWS", 7)
    rng = np.random.default_rng(0)
    real, fake = rng.normal(10, 1, (40, 3)), rng.normal(10.7, 0.8, (33, 3))

    def distances(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1)

    def radii(x, k):
        return np.sort(distances(x, x), axis=1)[:, k]

    found = digit_quality.neighbor_scores(real, fake)
    between = distances(real, fake)
    in_real, in_fake = between <= radii(real, 3)[:, None], between <= radii(fake, 3)
    assert found == {
        "sample_precision": pytest.approx(in_real.any(axis=0).mean()),
        "sample_recall": pytest.approx(in_fake.any(axis=1).mean()),
    }
    assert 0 < found["sample_recall"] < found["sample_precision"] <= 1


def test_neighbor_scores_of_a_collapsed_generator_lack_variety():
    real = np.random.default_rng(0).normal(size=(60, 2))
    found = digit_quality.neighbor_scores(real, np.repeat(real[:1], 60, axis=0))
    assert found["sample_precision"] == 1
    assert found["sample_recall"] == pytest.approx(1 / 60)


# The judge


class FakeJudge:
    """Predicts ten times the mean of an image; its features are four corner pixels."""

    confidence = 1.0

    def predict(self, images, **kwargs):
        features = images[:, :2, :2, 0].reshape(-1, 4)
        digits = np.rint(10 * images.mean(axis=(1, 2, 3))).astype(int)
        return features, self.confidence * np.eye(10)[digits.clip(0, 9)]


@pytest.fixture
def fake_judge(data_dir, monkeypatch):
    monkeypatch.setattr(digit_quality, "judge", FakeJudge)
    digit_quality.real_features.cache_clear()
    yield
    digit_quality.real_features.cache_clear()


def images_of(*digits):
    return np.ones((1, 28, 28, 1)) * np.reshape(digits, (-1, 1, 1, 1)) / 10


def test_judge_digits_counts_classes(fake_judge):
    numbers = digit_quality.judge_digits(images_of(3, 3, 0, 8))
    assert numbers["samples"] == 4
    assert numbers["class_histogram"] == [1, 0, 0, 2, 0, 0, 0, 0, 1, 0]
    assert numbers["class_entropy"] == round(1.5 * np.log(2), 4)
    assert "conditional_accuracy" not in numbers


def test_judge_digits_compares_with_the_digits_asked_for(fake_judge):
    numbers = digit_quality.judge_digits(images_of(3, 3, 0, 8), np.array([3, 5, 0, 8]))
    assert numbers["conditional_accuracy"] == 0.75


def test_judge_digits_measures_distance_to_a_random_subset_of_the_test_images(fake_judge):
    _, (x_test, _) = digit_quality.datasets.mnist()
    chosen = np.random.default_rng(0).permutation(len(x_test))[:10]
    assert not np.array_equal(chosen, np.arange(10))
    images = images_of(*range(10))
    corners = [x[:, :2, :2, 0].reshape(len(x), 4) for x in (images, x_test[chosen])]
    numbers = digit_quality.judge_digits(images)
    assert numbers["fid_mnist"] == pytest.approx(digit_quality.frechet_distance(*corners), abs=1e-3)
    # Test images are no distance from themselves; training images, the floor, are some.
    same = digit_quality.judge_digits(x_test)
    assert same["fid_mnist"] == pytest.approx(0, abs=1e-3)
    assert same["fid_mnist_floor"] > 0
    assert same["sample_precision"] == same["sample_recall"] == 1


@pytest.mark.parametrize("confidence, share", [(0.95, 0), (0.85, 1)])
def test_judge_digits_counts_images_of_low_confidence(fake_judge, monkeypatch, confidence, share):
    monkeypatch.setattr(FakeJudge, "confidence", confidence)
    assert digit_quality.judge_digits(images_of(3, 3, 0, 8))["low_confidence"] == share


def test_quick_scores_are_those_of_judge_digits_and_keep_the_real_features(fake_judge, monkeypatch):
    # In random order both divide the images into the same blocks only if these are all alike.
    images = images_of(*[4] * 12)
    whole = digit_quality.judge_digits(images)
    found = digit_quality.quick_scores(images)
    assert found == {name: whole[name] for name in ("fid_mnist", "kid", "kid_error")}
    monkeypatch.setattr(digit_quality.datasets, "mnist", None)
    assert digit_quality.quick_scores(images) == found


def test_judge_digits_uses_all_test_images_if_there_are_fewer(fake_judge):
    numbers = digit_quality.judge_digits(images_of(*[5] * 100))
    assert numbers["samples"] == sum(numbers["class_histogram"]) == 100
    _, (x_test, _) = digit_quality.datasets.mnist()
    everything = digit_quality.judge_outputs(x_test)[0]
    assert len(everything) == 32
    found = digit_quality.real_features(100)
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(everything, axis=0))


def test_the_judge_has_the_features_and_classes_of_its_docstring():
    features, probabilities = digit_quality.build_judge()(images_of(1, 2))
    assert tuple(features.shape) == (2, 576)
    probabilities = keras.ops.convert_to_numpy(probabilities)
    assert probabilities.shape == (2, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), [1, 1], rtol=1e-5)


def test_the_shipped_judge_knows_the_digits_of_mnist():
    if not digit_quality.JUDGE_FILE.exists():
        pytest.skip(f"no {digit_quality.JUDGE_FILE.name}")
    need_data_set("mnist")
    _, (images, labels) = digit_quality.datasets.mnist()
    if len(labels) != 10_000:
        pytest.skip("the MNIST in ADLK_DATA_DIR is not the whole one")
    predicted = digit_quality.judge().predict(images, batch_size=500, verbose=0)[1].argmax(axis=1)
    assert (predicted == labels).mean() >= 0.993


def bar(width, slope, size=28):
    """A white bar from bottom to top, `width` pixels wide, leaning right by `slope`."""
    height, column = np.mgrid[size:0:-1, 0:size]
    distance = np.abs(column - size / 2 - slope * (height - size / 2))
    image = np.clip(width / 2 + 0.5 - distance, 0, 1)
    image[(height < 4) | (height > size - 4)] = 0
    return image[..., None]


def test_stroke_thickness_grows_with_the_stroke():
    widths = np.array([2, 3, 4, 5])
    measured = digit_attributes.stroke_thickness(np.stack([bar(w, 0) for w in widths]))
    assert (np.diff(measured) > 0.3).all()
    np.testing.assert_allclose(measured, widths, rtol=0.35)


def test_slant_is_the_slope_of_a_leaning_bar():
    slopes = np.array([-0.5, 0, 0.3, 0.6])
    measured = digit_attributes.slant(np.stack([bar(3, s) for s in slopes]))
    np.testing.assert_allclose(measured, slopes, atol=0.06)


def test_width_is_that_of_a_bar_however_it_leans():
    measured = digit_attributes.width(
        np.stack([bar(w, slope) for w in (3, 6) for slope in (0, 0.5)])
    )
    deviations = np.sqrt((np.array([3, 3, 6, 6]) ** 2 - 1) / 12)
    np.testing.assert_allclose(measured, deviations, rtol=0.15)


def test_attribute_correlations_show_which_number_of_a_code_prevails():
    rng = np.random.default_rng(0)
    codes = rng.uniform(-1, 1, (60, 2))
    digits = np.arange(60) % 2
    # The first number leans one digit to the right and the other to the left.
    signs = np.where(digits, 1, -1)
    images = np.stack(
        [bar(4 + t, 0.4 * sign * s) for (s, t), sign in zip(codes, signs, strict=True)]
    )
    measured = digit_attributes.attribute_correlations(images, codes, digits)
    assert set(measured) == {"thickness", "slant", "width"}
    assert measured["slant"][0] > 0.95 > 0.5 > measured["slant"][1]
    assert measured["thickness"][1] > 0.8 > 0.5 > measured["thickness"][0]


# Disentanglement


def test_disentanglement_prefers_one_code_per_attribute():
    rng = np.random.default_rng(0)
    attributes = rng.uniform(-1, 1, (400, 2))
    digits = np.arange(400) % 2
    images = np.stack([bar(4 + thick, 0.4 * lean) for thick, lean in attributes])

    def gap(codes):
        found = digit_attributes.attribute_correlations(images, codes, digits)
        of_pairs = [abs(np.subtract(*found[name])) for name in digit_attributes.CONTROLLED]
        measured = digit_attributes.gap(found, digit_attributes.CONTROLLED)
        assert measured == pytest.approx(np.mean(of_pairs), abs=1e-4)
        return measured

    rotated = np.stack([attributes.sum(axis=1), np.subtract(*attributes.T)], axis=1)
    assert gap(attributes) > 0.7 > 0.3 > gap(rotated)
