"""Data sets: what they hold, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from gfsim.problems import Dataset, data
from gfsim.problems.networks import DeepLinear, ReLUPower, TwoLayer

KEY = jax.random.key(11)


def test_float64_from_anything_rectangular():
    dataset = Dataset([[1, 2], [3, 4], [5, 6]], np.array([1, 0, 1], np.int8))
    assert dataset.inputs.dtype == dataset.targets.dtype == jnp.float64
    assert (dataset.n, dataset.d) == (3, 2)


def test_two_digits():
    dataset = data.digits((5, 3))
    pixels, digit = load_digits(return_X_y=True)
    chosen = (digit == 3) | (digit == 5)
    np.testing.assert_array_equal(dataset.inputs, pixels[chosen] / 16.0)
    np.testing.assert_array_equal(dataset.targets, np.where(digit[chosen] == 5, 1.0, -1.0))
    assert dataset.inputs.max() == 1.0


def test_many_digits():
    dataset = data.digits((4, 0, 9))
    _, digit = load_digits(return_X_y=True)
    expected = [(4, 0, 9).index(d) for d in digit if d in (4, 0, 9)]
    np.testing.assert_array_equal(dataset.targets, expected)


def test_two_gaussians():
    means = np.array([[10.0, 0.0, 0.0], [0.0, -10.0, 0.0]])
    dataset = data.gaussians(means, 0.5, 2001, KEY)
    assert dataset.inputs.shape == (2001, 3)
    for sign, mean, count in ((1.0, means[0], 1001), (-1.0, means[1], 1000)):
        own = np.asarray(dataset.inputs)[np.asarray(dataset.targets) == sign]
        assert len(own) == count
        np.testing.assert_allclose(own.mean(axis=0), mean, atol=5 * 0.5 / np.sqrt(count))
        np.testing.assert_allclose(own.std(axis=0), 0.5, rtol=5 / np.sqrt(2 * count))


def test_three_gaussians_without_spread():
    dataset = data.gaussians([[0.0], [1.0], [2.0]], 0.0, 5, KEY)
    np.testing.assert_array_equal(dataset.inputs[:, 0], [0.0, 1.0, 2.0, 0.0, 1.0])
    np.testing.assert_array_equal(dataset.targets, [0.0, 1.0, 2.0, 0.0, 1.0])


@pytest.mark.parametrize("network", [TwoLayer(3, 2, ReLUPower(2), key=KEY), DeepLinear((3, 2), key=KEY)])
def test_teacher(network):
    dataset = data.teacher(network, 7, KEY)
    assert dataset.inputs.shape == (7, 3)
    for x, y in zip(dataset.inputs, dataset.targets, strict=True):
        np.testing.assert_allclose(network(x), y, rtol=1e-14)


def test_sphere():
    dataset = data.sphere(400, 5, KEY)
    np.testing.assert_allclose(jnp.sum(dataset.inputs**2, axis=1), 1.0, rtol=1e-14)
    assert set(np.asarray(dataset.targets)) == {-1.0, 1.0}
    assert abs(dataset.targets.mean()) < 5 / np.sqrt(400)
    assert jnp.max(jnp.abs(dataset.inputs.mean(axis=0))) < 5 / np.sqrt(5 * 400)


def test_xor_is_not_linearly_separable():
    dataset = data.xor()
    np.testing.assert_array_equal(dataset.targets, dataset.inputs[:, 0] * dataset.inputs[:, 1])
    # Σ y_i x_i = 0 and Σ y_i = 0: no affine function has all margins positive.
    np.testing.assert_array_equal(dataset.targets @ dataset.inputs, [0.0, 0.0])
    assert dataset.targets.sum() == 0.0
    assert len(np.unique(dataset.inputs, axis=0)) == 4


def test_orthogonal():
    dataset = data.orthogonal([3.0, -1.0, 0.5])
    np.testing.assert_array_equal(dataset.inputs @ dataset.inputs.T, np.eye(3))
    np.testing.assert_array_equal(dataset.targets, [3.0, -1.0, 0.5])


@pytest.mark.parametrize(
    "make", [lambda key: data.sphere(5, 2, key), lambda key: data.gaussians([[0.0], [1.0]], 1.0, 4, key)]
)
def test_the_key_decides(make):
    np.testing.assert_array_equal(make(KEY).inputs, make(KEY).inputs)
    assert not np.array_equal(make(KEY).inputs, make(jax.random.key(12)).inputs)


def test_npz_file(tmp_path):
    inputs, targets = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([[1, 2], [3, 4], [5, 6]])
    np.savez(tmp_path / "set.npz", inputs=inputs, targets=targets)
    dataset = data.from_file(tmp_path / "set.npz")
    np.testing.assert_array_equal(dataset.inputs, inputs)
    np.testing.assert_array_equal(dataset.targets, targets)


@pytest.mark.parametrize("header", ["", "a,b,y\n", "\ufeff"])
def test_csv_file(tmp_path, header):
    (tmp_path / "set.csv").write_text(header + "1,2.5,1\n-3e-1, 4,-1\n\n", encoding="utf-8")
    dataset = data.from_file(str(tmp_path / "set.csv"))
    np.testing.assert_array_equal(dataset.inputs, [[1.0, 2.5], [-0.3, 4.0]])
    np.testing.assert_array_equal(dataset.targets, [1.0, -1.0])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Dataset([[1.0], [np.nan]], [1.0, 1.0]), r"inputs must be finite, was nan at index \(1, 0\)"),
        (lambda: Dataset([[1.0], [2.0]], [1.0, -np.inf]), r"targets must be finite, was -inf at index \(1,\)"),
        (lambda: Dataset(np.zeros((0, 2)), np.zeros(0)), r"inputs must not be empty, was of shape \(0, 2\)"),
        (lambda: Dataset(np.zeros((2, 0)), np.zeros(2)), r"inputs must not be empty, was of shape \(2, 0\)"),
        (lambda: Dataset(np.zeros((2, 1)), np.zeros((2, 0))), r"targets must not be empty"),
        (lambda: Dataset(np.zeros((3, 2)), np.zeros(4)), "targets must have one entry per input, 3, was 4"),
        (lambda: Dataset(np.zeros(3), np.zeros(3)), r"inputs must have shape \(n, d\), was \(3,\)"),
        (lambda: Dataset(np.zeros((3, 2)), 1.0), r"targets must have shape \(n,\) or \(n, K\), was \(\)"),
        (lambda: Dataset([[1.0], [2.0, 3.0]], [1.0, 1.0]), "inputs must be a rectangular array .*, was ragged"),
        (lambda: data.digits((3,)), r"classes must be at least two different digits 0 … 9, was \(3,\)"),
        (lambda: data.digits((3, 3)), r"classes .* was \(3, 3\)"),
        (lambda: data.digits((3, 10)), r"classes .* was \(3, 10\)"),
        (lambda: data.gaussians([[0.0], [1.0]], -1.0, 4, KEY), "std must be a finite number ≥ 0, was -1.0"),
        (lambda: data.gaussians([[0.0], [1.0]], 1.0, 1, KEY), "n must be at least the number of classes, 2, was 1"),
        (lambda: data.gaussians([[0.0]], 1.0, 4, KEY), r"means must have shape \(K, d\) with K ≥ 2, was \(1, 1\)"),
        (lambda: data.gaussians([[0.0], [np.nan]], 1.0, 4, KEY), "means must be finite"),
        (lambda: data.sphere(0, 2, KEY), "n must be a positive integer, was 0"),
        (lambda: data.sphere(2, 0, KEY), "d must be a positive integer, was 0"),
        (lambda: data.teacher(DeepLinear((3, 2), key=KEY), 0, KEY), "n must be a positive integer, was 0"),
        (lambda: data.orthogonal([]), "must not be empty"),
        (lambda: data.orthogonal([1.0, np.nan]), "targets must be finite"),
    ],
)
def test_bad_arguments(make, says):
    with pytest.raises(ValueError, match=says) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("inputs", [[["a"]], [[1j]]])
def test_entries_that_are_no_numbers(inputs):
    with pytest.raises(TypeError, match="inputs must be real numbers, was of type"):
        Dataset(inputs, [1.0])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("no.csv", None, "must be a readable .csv file: No such file"),
        ("no.npz", None, "must be a readable .npz file: No such file"),
        ("set.txt", "1,2\n", "must end in .npz or .csv"),
        ("empty.csv", "", "must hold at least one row of numbers, held none"),
        ("header.csv", "a,b\n", "must hold at least one row of numbers, held none"),
        ("one.csv", "1\n2\n", "must have two or more columns, inputs and target, had 1"),
        ("text.csv", "x,y\n1,2\n3,four\n", "line 3, column 2 must be a number, was 'four'"),
        ("mixed.csv", "1,two\n3,4\n", "line 1, column 2 must be a number, was 'two'"),
        ("ragged.csv", "1,2\n3,4,5\n", "line 2 must have 2 columns, had 3"),
        ("nan.csv", "1,2\nnan,4\n", "inputs must be finite, was nan"),
        ("latin.csv", b"\xff\xfe1,2\n", "must be a readable .csv file"),
        ("broken.npz", b"not a zip file", "must be a readable .npz file"),
        ("cut.npz", b"PK\x03\x04", "must be a readable .npz file"),
        ("empty.npz", b"", "must be a readable .npz file"),
        ("keys.npz", {"x": np.ones((2, 1)), "y": np.ones(2)}, "must hold the arrays inputs and targets, held x, y"),
        ("objects.npz", {"inputs": np.array([[None]]), "targets": np.ones(1)}, "must hold arrays of numbers"),
        ("text.npz", {"inputs": np.array([["a"]]), "targets": np.ones(1)}, "inputs must be real numbers"),
        (
            "lengths.npz",
            {"inputs": np.ones((2, 1)), "targets": np.ones(3)},
            "targets must have one entry per input, 2",
        ),
    ],
)
def test_bad_files(tmp_path, name, content, says):
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=says) as error:
        data.from_file(path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=r"must be a readable \.csv file"):
        data.from_file(tmp_path / "folder.csv")


def test_a_single_array_is_no_archive(tmp_path):
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match=r"must be a \.npz archive of arrays, was a single array"):
        data.from_file(tmp_path / "array.npz")
