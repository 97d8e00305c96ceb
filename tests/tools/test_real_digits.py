"""The measures of real digits, the first row of the tables of generated ones."""

import numpy as np
import pytest
from conftest import load_script, read_json

from lib.data import datasets
from lib.measure import digit_quality


def test_the_subsets_are_measured_as_samples_are(monkeypatch, tmp_path):
    real_digits = load_script("benchmarks/real_digits.py")
    (images, labels), test = datasets.mnist()
    monkeypatch.setattr(datasets, "mnist", lambda: ((images[:301], labels[:301]), test))
    digit_quality.real_features.cache_clear()
    parts = real_digits.subsets(images[:301])
    rows = np.concatenate(parts).reshape(300, -1)
    assert [len(part) for part in parts] == [100] * 3
    assert len(np.unique(rows, axis=0)) == 300
    monkeypatch.setattr("sys.argv", ["real_digits.py", f"--output={tmp_path}/real.json"])
    real_digits.main(real_digits.parse_args())
    digit_quality.real_features.cache_clear()
    found = read_json(tmp_path / "real.json")
    assert found["samples"] == 100 and list(found["subsets"]) == ["0", "1", "2"]
    first, second, _ = (digit_quality.judge_outputs(part)[0] for part in parts)
    expected = digit_quality.frechet_distance(first, second)
    assert found["fid_between"] == pytest.approx(expected, rel=0.2)
    assert all(sum(each["class_histogram"]) == 100 for each in found["subsets"].values())
