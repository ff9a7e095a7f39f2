"""Losses against closed forms, and their logarithms where the losses themselves underflow."""

from decimal import Decimal, getcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gfsim.problems.losses import CrossEntropy, Exponential, Logistic, Square, log_softplus_minus

getcontext().prec = 1000

LOSSES = (Square, Logistic, Exponential, CrossEntropy)
SIGNS = jnp.array([1.0, -1.0, -1.0, 1.0])
CLASSES = jnp.array([2.0, 0.0, 1.0, 2.0])
SCALAR_OUTPUTS = jnp.array([0.3, 0.8, -2.5, -40.0])
CLASS_OUTPUTS = jnp.asarray(np.random.default_rng(0).normal(scale=3.0, size=(4, 3)))


def sample(loss):
    """Outputs and targets that fit the loss."""
    return (CLASS_OUTPUTS, CLASSES) if loss is CrossEntropy else (SCALAR_OUTPUTS, SIGNS)


def derivatives_of_log_softplus_minus(q):
    """log s, −σ/s and σ(1 − σ)/s − σ²/s² with s = log(1 + e^{−q}), σ = 1/(1 + e^q), in 1000 digits."""
    x = (-Decimal(q)).exp()
    s = (1 + x).ln()
    sigmoid = x / (1 + x)
    return s.ln(), -sigmoid / s, sigmoid * (1 - sigmoid) / s - (sigmoid / s) ** 2


@jax.jit
@jax.vmap
def value_and_derivatives(q):
    """log log(1 + e^{−q}), its derivative, and its second derivative both ways."""
    first = jax.grad(log_softplus_minus)
    return log_softplus_minus(q), first(q), jax.grad(first)(q), jax.jvp(first, (q,), (jnp.ones_like(q),))[1]


def test_log_softplus_minus_and_two_derivatives():
    q = [-700.0, -30.0, -3.0, 0.0, 2.0, 4.9, 5.0, 5.1, 8.0, 20.0, 40.0, 300.0, 1e3]
    exact = np.array([[float(d) for d in derivatives_of_log_softplus_minus(x)] for x in q]).T
    value, first, backward, forward = value_and_derivatives(jnp.array(q))
    np.testing.assert_allclose(value, exact[0], rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(first, exact[1], rtol=1e-14)
    # Below q = 5 the second derivative is a difference of numbers up to 2/x = 297 times as large.
    np.testing.assert_allclose(backward, exact[2], rtol=5e-13)
    np.testing.assert_allclose(forward, exact[2], rtol=5e-13)


def test_log_softplus_minus_far_out():
    q = jnp.array([1e3, 1e6, 1e9, 1e300])
    value, first, backward, forward = value_and_derivatives(q)
    np.testing.assert_array_equal(value, -q)
    np.testing.assert_array_equal(first, -1.0)
    np.testing.assert_array_equal(backward, 0.0)
    np.testing.assert_array_equal(forward, 0.0)


def test_log_softplus_minus_far_on_the_wrong_side():
    q = jnp.array([-1e6, -1e9])
    value, first, _, forward = value_and_derivatives(q)
    np.testing.assert_allclose(value, np.log(-q), rtol=1e-15)
    np.testing.assert_allclose(first, 1.0 / q, rtol=1e-14)
    np.testing.assert_allclose(forward, -1.0 / q**2, rtol=1e-14)


def test_values():
    f, y = np.asarray(SCALAR_OUTPUTS), np.asarray(SIGNS)
    np.testing.assert_allclose(Square().values(SCALAR_OUTPUTS, SIGNS), 0.5 * (f - y) ** 2, rtol=1e-14)
    np.testing.assert_allclose(Logistic().values(SCALAR_OUTPUTS, SIGNS), np.log1p(np.exp(-y * f)), rtol=1e-14)
    np.testing.assert_allclose(Exponential().values(SCALAR_OUTPUTS, SIGNS), np.exp(-y * f), rtol=1e-14)
    f, y = np.asarray(CLASS_OUTPUTS), np.asarray(CLASSES, int)
    probabilities = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        CrossEntropy().values(CLASS_OUTPUTS, CLASSES), -np.log(probabilities[np.arange(4), y]), rtol=1e-13
    )


def test_square_sums_over_the_outputs_of_a_sample():
    outputs, targets = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(Square().values(outputs, targets), [2.5, 12.5], rtol=1e-15)
    np.testing.assert_allclose(Square().log_values(outputs, targets), np.log([2.5, 12.5]), rtol=1e-15)


def test_cross_entropy_of_two_classes_is_the_logistic_loss_of_the_difference():
    outputs = CLASS_OUTPUTS[:, :2]
    labels = jnp.array([0.0, 1.0, 1.0, 0.0])
    two, signs = outputs[:, 0] - outputs[:, 1], 1.0 - 2.0 * labels
    for method in ("values", "log_values", "margins"):
        np.testing.assert_allclose(
            getattr(CrossEntropy(), method)(outputs, labels), getattr(Logistic(), method)(two, signs), rtol=1e-13
        )


def to_second_order(f):
    """f, ∇f and ∇²f of a scalar function of the outputs, in one compilation."""
    return jax.jit(lambda outputs: (f(outputs), jax.grad(f)(outputs), jax.hessian(f)(outputs)))


@pytest.mark.parametrize("loss", LOSSES)
def test_log_values_are_the_logarithms_with_their_derivatives(loss):
    outputs, targets = sample(loss)
    # Weights that differ, so that no sample can stand in for another.
    weights = jnp.array([1.0, 2.0, -3.0, 0.5])
    found = to_second_order(lambda f: weights @ loss().log_values(f, targets))(outputs)
    expected = to_second_order(lambda f: weights @ jnp.log(loss().values(f, targets)))(outputs)
    for order in range(3):
        np.testing.assert_allclose(found[order], expected[order], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("loss", [Logistic, Exponential])
def test_log_domain_of_margin_losses(loss):
    """𝓛 = mean of ≈ e^{−q_i}: log 𝓛 and its derivative −softmax(−q)_i·y_i, long after 𝓛 is 0."""
    reduced = to_second_order(lambda f: loss().log_reduce(loss().log_values(f, SIGNS)))
    weights = np.exp(-np.arange(4.0))
    p = weights / weights.sum()
    for q in (1e3, 1e6):
        outputs = (q + jnp.arange(4.0)) * SIGNS
        value, gradient, hessian = reduced(outputs)
        assert loss().reduce(loss().values(outputs, SIGNS)) == 0.0
        np.testing.assert_allclose(value, -q + np.log(weights.sum() / 4.0), rtol=1e-15)
        # Float64 is spaced by 1e-10 at 1e6, and the exponential turns that into a relative error.
        np.testing.assert_allclose(gradient, -SIGNS * p, rtol=1e-9)
        expected = (np.diag(p) - np.outer(p, p)) * np.outer(SIGNS, SIGNS)
        np.testing.assert_allclose(hessian, expected, atol=1e-9)


def test_log_domain_of_cross_entropy():
    """ℓ ≈ e^{−q}(1 + e^{−1}) for outputs (q, 0, −1) of class 0."""
    reduced = to_second_order(
        lambda f: CrossEntropy().log_reduce(CrossEntropy().log_values(f[None, :], jnp.array([0.0])))
    )
    share = 1.0 / (1.0 + np.exp(-1.0))
    for q in (1e3, 1e6):
        value, gradient, hessian = reduced(jnp.array([q, 0.0, -1.0]))
        np.testing.assert_allclose(value, -q + np.log1p(np.exp(-1.0)), rtol=1e-15)
        np.testing.assert_allclose(gradient, [-1.0, share, 1.0 - share], rtol=1e-9)
        curvature = share * (1.0 - share)
        expected = np.array([[0.0, 0.0, 0.0], [0.0, curvature, -curvature], [0.0, -curvature, curvature]])
        np.testing.assert_allclose(hessian, expected, atol=1e-9)


def test_log_domain_of_the_square():
    """½r² underflows at r = 1e-170; a sample fitted exactly adds nothing, to the gradient neither."""
    targets = jnp.zeros(3)
    reduced = lambda f: Square("sum").log_reduce(Square("sum").log_values(f, targets))  # noqa: E731
    outputs = jnp.array([1e-170, -2e-170, 0.0])
    np.testing.assert_allclose(reduced(outputs), np.log(2.5) - 340.0 * np.log(10.0), rtol=1e-14)
    np.testing.assert_allclose(jax.grad(reduced)(outputs) * 1e-170, [0.4, -0.8, 0.0], rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_reductions(loss):
    outputs, targets = sample(loss)
    values = loss().values(outputs, targets)
    np.testing.assert_allclose(loss("sum").reduce(values), np.sum(values), rtol=1e-15)
    np.testing.assert_allclose(loss().reduce(values), np.mean(values), rtol=1e-15)
    np.testing.assert_allclose(loss("sum").log_reduce(jnp.log(values)), np.log(np.sum(values)), rtol=1e-14)
    np.testing.assert_allclose(loss("mean").log_reduce(jnp.log(values)), np.log(np.mean(values)), rtol=1e-14)


def test_pull_at_the_origin():
    zeros = jnp.zeros(4)
    np.testing.assert_allclose(Square("sum").pull(zeros, SIGNS * 3.0), SIGNS * 3.0, rtol=1e-15)
    np.testing.assert_allclose(Logistic("sum").pull(zeros, SIGNS), SIGNS / 2.0, rtol=1e-15)
    np.testing.assert_allclose(Exponential("sum").pull(zeros, SIGNS), SIGNS, rtol=1e-15)
    np.testing.assert_allclose(Exponential("mean").pull(zeros, SIGNS), SIGNS / 4.0, rtol=1e-15)
    np.testing.assert_allclose(
        CrossEntropy("sum").pull(jnp.zeros((4, 3)), CLASSES),
        np.eye(3)[np.asarray(CLASSES, int)] - 1.0 / 3.0,
        rtol=1e-14,
    )


def test_pull_elsewhere_is_the_residual():
    np.testing.assert_allclose(Square("sum").pull(SCALAR_OUTPUTS, SIGNS), SIGNS - SCALAR_OUTPUTS, rtol=1e-15)


def test_margins():
    np.testing.assert_array_equal(Logistic().margins(SCALAR_OUTPUTS, SIGNS), SIGNS * SCALAR_OUTPUTS)
    np.testing.assert_array_equal(Exponential().margins(SCALAR_OUTPUTS, SIGNS), SIGNS * SCALAR_OUTPUTS)
    outputs = jnp.array([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0]])
    np.testing.assert_array_equal(CrossEntropy().margins(outputs, jnp.array([1.0, 2.0])), [2.0, -2.0])
    with pytest.raises(ValueError, match=r"margins: need a loss with classes, .*, was Square"):
        Square().margins(SCALAR_OUTPUTS, SIGNS)


@pytest.mark.parametrize(
    ("loss", "targets", "output_shape", "says"),
    [
        (Logistic, [0.0, 1.0], (), "targets: Logistic needs labels −1 and \\+1, labels were 0, 1"),
        (Exponential, [1.0, 2.0], (), "targets: Exponential needs labels −1 and \\+1, labels were 1, 2"),
        (Logistic, [[1.0], [-1.0]], (), r"targets: Logistic needs one label per sample, .*, was \(2, 1\)"),
        (Logistic, [1.0, -1.0], (2,), r"network: Logistic needs a scalar output, output shape was \(2,\)"),
        (Logistic, [1.0, -1.0], (1,), 'out_size="scalar"'),
        (CrossEntropy, [1.0, -1.0], (2,), "targets: CrossEntropy needs labels the integers 0 … 1, labels were -1, 1"),
        (CrossEntropy, [0.0, 1.5], (3,), "labels were 0, 1.5"),
        (CrossEntropy, list(range(10)), (9,), "labels were 0, 1, 2, 3, 4, 5, …"),
        (CrossEntropy, [0.0, 1.0], (), r"network: CrossEntropy needs two or more outputs, output shape was \(\)"),
        (Square, [0.0, 1.0], (2,), r"targets: Square needs one per output of the network, shape \(2, 2\), was \(2,\)"),
        (Square, [0.0, 1.0], (1,), 'out_size="scalar"'),
        (Square, [[0.0], [1.0]], (), r"shape \(2,\), was \(2, 1\)"),
    ],
)
def test_targets_that_do_not_fit(loss, targets, output_shape, says):
    with pytest.raises(ValueError, match=says) as error:
        loss().check(jnp.asarray(targets, float), output_shape)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("loss", LOSSES)
def test_targets_that_fit(loss):
    outputs, targets = sample(loss)
    loss().check(targets, outputs.shape[1:])


@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_reduction(loss):
    with pytest.raises(ValueError, match='reduction must be "mean" or "sum", was \'max\''):
        loss("max")
