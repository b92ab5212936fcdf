"""An engine without Keras: each config's loss is a function of its learning rate and its age."""

import math

from adamtune.engine.program import Report
from adamtune.errors import LaneStatus


class FakeEngine:
    """Loss = |log10(learning_rate) + 2| + 1 / age; a rate above `diverges_above` becomes NaN in its second epoch."""

    n_programs = 1

    def __init__(self, n_lanes=4, diverges_above=math.inf, on_tick=lambda engine: None):
        self.n_lanes = n_lanes
        self.clock = 0
        self.loaded = []
        self._seats = {}
        self._above = diverges_above
        self._on_tick = on_tick

    def load(self, configs):
        for lane, config in configs.items():
            assert lane not in self._seats, "a seat was taken twice"
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

    def initial_loss(self):
        return 3.0

    def _report(self, lane, config, age):
        loss = abs(math.log10(config.learning_rate) + 2) + 1 / age
        status = LaneStatus.RUNNING
        if config.learning_rate > self._above and age > 1:
            loss, status = math.nan, LaneStatus.DIVERGED
        return Report(lane, age, loss, status, loss, loss, None)
