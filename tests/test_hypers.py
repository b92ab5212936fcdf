import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamtune.errors import ConfigError
from adamtune.hypers import flag, fraction, positive

RATE = positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step")
EPSILON = positive("epsilon", 1e-7, low=1e-10, high=1e-1, tier=2, meaning="floor", zero=True)
BETA = fraction("beta_1", 0.9, low=1e-2, high=1.0, tier=2, meaning="memory")
FLAG = flag("amsgrad", tier=3, meaning="largest so far")


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_a_positive_number_stays_what_it_is(value):
    assert RATE.check(value) == value
    assert RATE.uncarry(RATE.carry(value)) == value


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_fraction_comes_back_within_its_rounding(value):
    # 1 - value is exact from one half on (Sterbenz); below, one rounding of a number near 1.
    assert BETA.check(value) == value
    back = BETA.uncarry(BETA.carry(value))
    assert back == value if value >= 0.5 else abs(back - value) <= 2**-53


@given(st.floats(min_value=1e-12, max_value=1))
def test_a_carried_fraction_is_what_was_searched(one_minus):
    assert BETA.carry(BETA.uncarry(one_minus)) == pytest.approx(one_minus, rel=1e-4)


@pytest.mark.parametrize("value", [False, True])
def test_a_flag_comes_back(value):
    assert FLAG.carry(value) == float(value)
    assert FLAG.uncarry(FLAG.carry(value)) is value


@pytest.mark.parametrize(
    "number", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), Fraction(1, 2), Decimal("0.5")]
)
@pytest.mark.parametrize("hyper", [RATE, EPSILON, BETA])
def test_every_kind_of_number_becomes_a_float(hyper, number):
    assert hyper.check(number) == 0.5
    assert type(hyper.check(number)) is float


@pytest.mark.parametrize("kind", [bool, int, float, np.bool_, np.int64, np.float32, np.array], ids=repr)
def test_every_kind_of_yes_and_no_becomes_a_bool(kind):
    assert FLAG.check(kind(1)) is True
    assert FLAG.check(kind(0)) is False


def test_ends_of_what_is_legal():
    assert EPSILON.check(0) == 0.0
    assert BETA.check(0) == 0.0
    assert BETA.check(1 - 2**-53) < 1
    assert RATE.check(1e300) == 1e300
    for hyper, value in ((RATE, 0), (BETA, 1), (BETA, 1 - 1e-17), (RATE, -1e-300), (BETA, -1e-300)):
        with pytest.raises(ConfigError):
            hyper.check(value)


NO_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    -1,
    10**400,
    "0.1",
    b"0.1",
    bytearray(b"0.1"),
    None,
    [],
    [0.1],
    {},
    1j,
    pytest.param(object(), id="object"),
    np.array([0.1]),
    np.array([0.1, 0.2]),
    np.float64("nan"),
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("hyper", [RATE, EPSILON, BETA, FLAG], ids=lambda hyper: hyper.name)
def test_what_is_no_number(hyper, value):
    with pytest.raises(ConfigError) as caught:
        hyper.check(value)
    message = str(caught.value)
    assert message.startswith(f"{hyper.name}=")
    assert f"expected {hyper.expected}" in message
    assert f"The default is {hyper.name}={hyper.default}" in message


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_, np.array(True)], ids=repr)
@pytest.mark.parametrize("hyper", [RATE, EPSILON, BETA], ids=lambda hyper: hyper.name)
def test_a_bool_is_no_number(hyper, value):
    with pytest.raises(ConfigError, match=rf"{hyper.name}=.*(True|False)"):
        hyper.check(value)


@pytest.mark.parametrize("value", [2, 0.5, -1])
def test_what_is_no_flag(value):
    with pytest.raises(ConfigError, match="expected True or False"):
        FLAG.check(value)


SHARE = positive("warmup", 0.0, low=1e-5, high=1e-1, tier=3, meaning="share", zero=True, most=1.0)
LIMIT = positive("clipnorm", math.inf, low=1e-2, high=1e2, tier=4, meaning="limit")


@pytest.mark.parametrize("value", [0, 0.5, 1, 5e-324])
def test_a_share_may_be_all(value):
    assert SHARE.check(value) == value


@pytest.mark.parametrize("value", [1 + 1e-15, 2, math.inf, -1e-300, math.nan])
def test_a_share_is_no_more_than_all(value):
    with pytest.raises(ConfigError, match="expected 1 >= warmup >= 0"):
        SHARE.check(value)


def test_no_limit_is_an_infinite_one():
    assert LIMIT.check(math.inf) == LIMIT.carry(math.inf) == LIMIT.uncarry(math.inf) == math.inf
    assert LIMIT.check(1e300) == 1e300
    for value in (0, -1, -math.inf, math.nan, None, "inf"):
        with pytest.raises(ConfigError, match="expected clipnorm > 0"):
            LIMIT.check(value)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", ["x" * 100_000, list(range(100_000)), nested(5_000)], ids=["text", "list", "nested"])
def test_a_message_stays_short(value):
    with pytest.raises(ConfigError) as caught:
        RATE.check(value)
    assert len(str(caught.value)) < 300


def test_names_and_words():
    assert (RATE.carried_name, BETA.carried_name, FLAG.carried_name) == ("learning_rate", "one_minus_beta_1", "amsgrad")
    assert (RATE.expected, EPSILON.expected) == ("learning_rate > 0", "epsilon >= 0")
    assert (BETA.expected, FLAG.expected) == ("0 <= beta_1 < 1", "True or False")
