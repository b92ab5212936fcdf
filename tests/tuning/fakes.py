"""An engine without Keras: a config's loss is a function of its optimizer, learning rate, age and pass."""

import math

from adamtune.engine.stream import Report
from adamtune.errors import LaneStatus, OutOfMemory

# What an optimizer is worse by, so that some are better than others.
WORSE = {"sgd": 1.5, "rmsprop": 0.25, "nadam": 1.75}
PASS = 0.125


class FakeEngine:
    """Loss = |log10(learning_rate) + 2| + 1 / age + ...; a rate above `diverges_above` is NaN in its second epoch."""

    n_programs = 1

    def __init__(self, n_lanes=4, diverges_above=math.inf, on_tick=lambda engine: None, *, rule=None, number=0):
        self.n_lanes = n_lanes
        self.rule, self.number = rule, number
        self.clock = 0
        self.initial = 3.0
        self.loaded = []
        self._seats = {}
        self._above = diverges_above
        self._on_tick = on_tick

    def load(self, configs):
        for lane, config in configs.items():
            assert lane not in self._seats, "a seat was taken twice"
            assert lane < self.n_lanes, "there is no such seat"
            assert self.rule in (None, config.optimizer), "a config of another optimizer"
            self._seats[lane] = (config, 0)
            self.loaded.append(config)

    def tick(self):
        self.clock += 1
        self._on_tick(self)
        self._seats = {lane: (config, age + 1) for lane, (config, age) in self._seats.items()}

    def reports(self):
        return [self._report(lane, config, age) for lane, (config, age) in sorted(self._seats.items())]

    def free(self, lanes):
        for lane in lanes:
            del self._seats[lane]

    def restart(self, stream, model):
        self.clock, self._seats, self.number = 0, {}, stream.seed

    def halve(self):
        if self.n_lanes == 1:
            raise OutOfMemory("one lane does not fit")
        self.n_lanes, self._seats = self.n_lanes // 2, {}

    def initial_loss(self):
        return self.initial

    @property
    def seated(self):
        return len(self._seats)

    def _report(self, lane, config, age):
        loss = loss_of(config, age, self.number)
        status = LaneStatus.RUNNING
        if config.learning_rate > self._above and age > 1:
            loss, status = math.nan, LaneStatus.DIVERGED
        return Report(lane, age, loss, status, loss, loss, None)


def loss_of(config, age, number=0):
    """The loss at the end of epoch `age` of pass `number`."""
    return abs(math.log10(config.learning_rate) + 2) + 1 / age + WORSE.get(config.optimizer, 0.0) + number * PASS


class FakePrograms:
    """Engines by optimizer and pass, opened when they are asked for."""

    def __init__(self, n_lanes=4, clock=lambda rule, number: 0, **options):
        self.n_lanes, self.clock, self.options = n_lanes, clock, options
        self.opened = {}

    def __call__(self, rule, number=0):
        if (rule, number) not in self.opened:
            engine = FakeEngine(self.n_lanes, rule=rule, number=number, **self.options)
            engine.clock = self.clock(rule, number)
            self.opened[rule, number] = engine
        return self.opened[rule, number]
