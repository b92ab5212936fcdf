"""An optimizer of your own in one file: its mathematics, its numbers, its tests; then a study tunes it beside Adam.

The rule here is SGD that divides its step by the length of the gradient ("normalised gradient descent", Hazan et al.
2015, arXiv 1507.02030), with momentum. Run it with `python own_optimizer.py`, test it with `pytest
own_optimizer.py`. A package that has such a rule, in a module without the tests, offers it to everyone who installs it
with an entry point:

    [project.entry-points."adamtune.optimizers"]
    normalised = "my_package.normalised:RULE"
"""

import pytest
from sklearn.datasets import load_digits

from adamtune import AdamTunerClassifier, optimizers
from adamtune.hypers import fraction, positive
from adamtune.optimizers import ops  # keras.ops, imported when the first number is computed
from adamtune.testing import RuleTestCase


def update(g, w, slots, h, t):
    (u,) = slots
    # Each weight has a length of its own, and so has each lane.
    axes = optimizers.own_axes(w, h.learning_rate)
    length = ops.sqrt(ops.sum(g * g, axis=axes, keepdims=True))
    u = (1 - h.one_minus_momentum) * u + g / (length + h.epsilon)
    return w - h.learning_rate * u, (u,)


RULE = optimizers.Rule(
    name="normalised",
    class_name="NormalisedSGD",
    family="momentum",
    source="Hazan, Levy & Shalev-Shwartz 2015, arXiv 1507.02030",
    notes=__doc__,
    hypers=(
        positive("learning_rate", 1e-2, low=1e-4, high=1.0, tier=1, meaning="length of a step"),
        fraction("momentum", 0.9, low=5e-3, high=1.0, tier=1, meaning="share of the last step kept"),
        positive("epsilon", 1e-8, low=1e-10, high=1e-2, tier=3, meaning="added to the length", zero=True),
    ),
    slots=("momentum",),
    update=update,
)


class TestNormalised(RuleTestCase):
    """Everything that holds for adamtune's own optimizers: lanes, Keras, saving, shapes, and more."""

    @pytest.fixture
    def rule(self):
        return RULE


def main(n_trials=32, epochs=10):
    optimizers.register(RULE)
    X, y = load_digits(return_X_y=True)
    tuner = AdamTunerClassifier(
        optimizer=["adam", "normalised"], n_trials=n_trials, epochs=epochs, storage="memory", random_state=0
    ).fit(X / 16, y)
    print(tuner.best_config_, tuner.best_score_)

    # The same rule is a Keras optimizer.
    import keras

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, activation="softmax")])
    model.compile(optimizer=optimizers.NormalisedSGD(learning_rate=0.1), loss="sparse_categorical_crossentropy")
    losses = model.fit(X / 16, y, epochs=epochs, verbose=0).history["loss"]
    return tuner, losses


if __name__ == "__main__":
    main()
