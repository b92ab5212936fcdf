"""Two processes do to a database whatever they like, and it reads as Optuna's storage in memory does.

The two flush when the other one's turn comes, and write to no trial that the other trains: that is what `buffer` asks
of them. `looks` says how often somebody reads, because reading is what most often makes a buffer write.
"""

import contextlib
import copy
import gc
import itertools
import math
import pickle
from collections import deque
from dataclasses import dataclass, field

import hypothesis
import optuna
import pytest
import sqlalchemy
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from adamtune.tuning import buffer
from adamtune.tuning import storage as storages
from adamtune.tuning.buffer import BufferedRDBStorage
from adamtune.tuning.storage import close, flush, open_storage

COMPLETE, PRUNED, FAIL, RUNNING, WAITING = (
    getattr(TrialState, name) for name in ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
)
MINIMIZE, MAXIMIZE = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE
REFUSED = (KeyError, ValueError, UpdateFinishedTrialError, DuplicatedStudyError)
NOBODY = 10**6  # a trial that neither storage has given this id

# What every database can tell apart: MariaDB takes "a", "A" and "å" for one key, and one emoji for another.
KEYS = ["b", "c", "öffentlich", "鍵", "k" * 511, "l" * 512, "é" * 512]
TEXTS = ["x" * (2**16 - 3), "å" * 10_922]  # as JSON the most that a column of MySQL holds, and two bytes less
MORE_TEXTS = ["x" * (2**16 - 2), "x" * (2**16 - 1), "x" * 2**16]
MORE_KEYS = ["a", "A", "å", "🔑", "😀", "", "m" * 513, "å" * 600]

DISTRIBUTIONS = {
    "x": FloatDistribution(0.0, 2.0),
    "π": FloatDistribution(1e-5, 1.0, log=True),
    "n" * 512: IntDistribution(1, 64, log=True),
    "choice": CategoricalDistribution(("a", None, True, 2.5, "å")),
}
OTHERS = {"x": FloatDistribution(0.0, 5.0), "choice": FloatDistribution(0.0, 1.0)}  # compatible, and not

NUMBER = st.floats(allow_nan=False, allow_subnormal=False)
REPORT = NUMBER | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324])
WORD = st.sampled_from(["", "x", "'; --", "%s {0} \\", "\0\n", "学习 🧪", "שלום"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | NUMBER | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=4,
)
WHO = st.sampled_from([0, 0, 1])
INDEX = st.integers(0, 9)
STEP = st.integers(0, 3)
ENDS = st.sampled_from([COMPLETE, COMPLETE, PRUNED, FAIL])


@dataclass
class Reserve:
    """What `reserving` holds: how many trials are not made yet, and the numbers that nobody has asked for."""

    left: int
    block: contextlib.ExitStack
    made: deque = field(default_factory=deque)


class Process:
    """A storage of a process of its own, with the blocks that it has open."""

    def __init__(self, url):
        self.url = url
        self.storage = open_storage(url)
        self.together = contextlib.ExitStack()
        self.reserves = {}

    def hides(self, study):
        return set(self.reserves[study].made) if study in self.reserves else set()


class Opened(BufferedRDBStorage):
    """Opened a tenth as long, because its tables are known to be there."""

    def __init__(self, url, engine_kwargs):
        super().__init__(url, engine_kwargs, skip_compatibility_check=True, skip_table_creation=True)


def outcome(function, *args):
    try:
        return repr(function(*args))
    except REFUSED as error:
        return type(error).__name__


def plainly(number):
    return number + 0.0 if isinstance(number, float) else number  # SQLite and MariaDB drop the sign of zero


def content(trial):
    """All that a trial holds, as text: NaN is NaN, True is not 1, and moments are there or not."""
    return repr(
        (
            trial.number,
            trial.state,
            None if trial.values is None else [plainly(value) for value in trial.values],
            [(name, plainly(value)) for name, value in trial.params.items()],  # in their order, which a study keeps
            sorted(trial.distributions.items()),
            sorted((step, plainly(value)) for step, value in trial.intermediate_values.items()),
            sorted(trial.user_attrs.items()),
            sorted(trial.system_attrs.items()),
            trial.datetime_start is not None,
            trial.datetime_complete is not None,
        )
    )


class Machine(RuleBasedStateMachine):
    """`url` names a database with tables, which every example empties."""

    url: str
    keys: list
    texts: list

    @initialize(
        looks=st.sampled_from(["everybody", "who acted", "nobody"]),
        directions=st.sampled_from([[MINIMIZE], [MINIMIZE], [MAXIMIZE], [MINIMIZE, MAXIMIZE]]),
    )
    def begin(self, looks, directions):
        self.plain = RDBStorage(self.url, skip_table_creation=True, skip_compatibility_check=True)
        own = [name for name in sqlalchemy.inspect(self.plain.engine).get_table_names() if name.startswith("adamtune")]
        with self.plain.engine.begin() as connection:
            for table in (*map(sqlalchemy.table, own), *reversed(models.BaseModel.metadata.sorted_tables)):
                if table is not models.VersionInfoModel.__table__:
                    connection.execute(table.delete())
        self.memory = InMemoryStorage()
        self.processes = [Process(self.url), Process(self.url)]
        self.last = 0
        self.looks = looks
        self.made = 0
        self.filters = itertools.cycle([(WAITING,), [RUNNING], (COMPLETE, PRUNED, FAIL), {WAITING, COMPLETE}])
        self.turns = itertools.count()
        self.studies = []
        self.trials = []  # (study, number) of all that somebody could hold
        self.trainers = {}  # (study, number) -> the process that has begun it
        self.suggested = set()
        self.create_study(0, directions)
        for who in (0, 0, 1):
            self.create(who, self.studies[0])

    # ------------------------------------------------------------------------------------------------------- who, what

    def acting(self, who):
        """The process whose turn it is; what the other one has kept is written."""
        if who != self.last:
            flush(self.processes[self.last].storage)
            self.last = who
        return self.processes[who]

    def study_ids(self, who, study):
        return self.processes[who].storage.get_study_id_from_name(study), self.memory.get_study_id_from_name(study)

    def trial_ids(self, who, trial):
        study, number = trial
        ours, model = self.study_ids(who, study)
        return (
            self.processes[who].storage.get_trial_id_from_study_id_trial_number(ours, number),
            self.memory.get_trial_id_from_study_id_trial_number(model, number),
        )

    def pick(self, who, index):
        """A trial, or None where another process trains it."""
        trial = self.trials[index % len(self.trials)]
        _, model = self.trial_ids(who, trial)
        trained = self.memory.get_trial(model).state is RUNNING and self.trainers.get(trial, who) != who
        return None if trained else trial

    def both(self, who, trial, name, *args):
        """Do it to both storages, and tell what came of it."""
        process = self.acting(who)
        ours, model = self.trial_ids(who, trial)
        said = outcome(getattr(process.storage, name), ours, *args)
        assert said == outcome(getattr(self.memory, name), model, *copy.deepcopy(args))
        return said

    def new(self, who, study):
        """The number of the trial that a process makes next, made in the model."""
        _, model = self.study_ids(who, study)
        reserve = self.processes[who].reserves.get(study)

        def create():
            return self.memory.get_trial_number_from_id(self.memory.create_new_trial(model))

        if reserve and reserve.left > 0 and not reserve.made:
            reserve.made.extend(create() for _ in range(reserve.left))
            reserve.left = 0
        number = reserve.made.popleft() if reserve and reserve.made else create()
        self.trials.append((study, number))
        self.trainers[study, number] = who
        return number

    def started(self, who, trial):
        self.trainers[trial] = who
        if reserve := self.processes[who].reserves.get(trial[0]):
            reserve.left -= 1

    # --------------------------------------------------------------------------------------------------------- studies

    @precondition(lambda self: len(self.studies) < 3)
    @rule(who=WHO, directions=st.sampled_from([[MINIMIZE], [MINIMIZE], [MAXIMIZE], [MINIMIZE, MAXIMIZE]]))
    def create_study(self, who, directions):
        self.made += 1
        name = f"étude 学习 🧪 {self.made}"
        for storage in (self.acting(who).storage, self.memory):
            storage.create_new_study(directions, name)
        self.studies.append(name)

    @precondition(lambda self: len(self.studies) > 1)
    @rule(who=WHO, index=INDEX)
    def delete_study(self, who, index):
        study = self.studies[index % len(self.studies)]
        process, other = self.acting(who), self.processes[1 - who]
        ours, model = self.study_ids(who, study)
        if study in other.reserves:
            return
        process.storage.delete_study(ours)
        self.memory.delete_study(model)
        self.studies.remove(study)
        self.trials = [trial for trial in self.trials if trial[0] != study]
        if reserve := process.reserves.pop(study, None):
            reserve.block.close()
        # SQLite gives the ids again, and whoever has read the trials that had them cannot know.
        self.acting(1 - who)
        self.reopen(1 - who, "close")

    @rule(who=WHO, index=INDEX, kind=st.sampled_from(["user", "system"]), data=st.data())
    def annotate_study(self, who, index, kind, data):
        key, value = data.draw(st.sampled_from(self.keys)), data.draw(JSON | st.sampled_from(self.texts))
        process = self.acting(who)
        ours, model = self.study_ids(who, self.studies[index % len(self.studies)])
        for storage, study in ((process.storage, ours), (self.memory, model)):
            getattr(storage, f"set_study_{kind}_attr")(study, key, value)

    # -------------------------------------------------------------------------------------------- trials begin and wait

    @precondition(lambda self: len(self.trials) < 12)
    @rule(who=WHO, index=INDEX, how=st.sampled_from(["create", "ask", "ask", "enqueue", "add"]), data=st.data())
    def one_more(self, who, index, how, data):
        study = self.studies[index % len(self.studies)]
        getattr(self, how)(who, study, *([data] if how == "add" else []))

    def create(self, who, study):
        process = self.acting(who)
        trial_id = process.storage.create_new_trial(self.study_ids(who, study)[0])
        assert process.storage.get_trial_number_from_id(trial_id) == self.new(who, study)

    def ask(self, who, name):
        process = self.acting(who)
        sampler = optuna.samplers.RandomSampler(seed=0)
        asked = optuna.load_study(study_name=name, storage=process.storage, sampler=sampler).ask().number
        waiting = [
            trial
            for trial in self.memory.get_all_trials(self.study_ids(who, name)[1])
            if trial.state is WAITING and not process.hides(name)
        ]
        if waiting:
            assert asked == waiting[0].number
            assert self.memory.set_trial_state_values(waiting[0]._trial_id, RUNNING)
            self.started(who, (name, asked))
        else:
            assert asked == self.new(who, name)

    def add(self, who, study, data):
        """A trial from a template: finished, waiting or running."""
        process = self.acting(who)
        ours, model = self.study_ids(who, study)
        n_values = len(self.memory.get_study_directions(model))
        state = data.draw(st.sampled_from(list(TrialState)))
        drawn = data.draw(st.lists(st.sampled_from(list(DISTRIBUTIONS)), unique=True))
        names = [name for name in drawn if self.kinds(model, name) <= {type(DISTRIBUTIONS[name])}]
        key = st.sampled_from(self.keys)
        template = create_trial(
            state=state,
            values=data.draw(st.lists(NUMBER, min_size=n_values, max_size=n_values)) if state is COMPLETE else None,
            params={name: data.draw(self.value_of(DISTRIBUTIONS[name])) for name in names},
            distributions={name: DISTRIBUTIONS[name] for name in names},
            user_attrs=data.draw(st.dictionaries(key, JSON | st.sampled_from(self.texts), max_size=2)),
            system_attrs=data.draw(st.dictionaries(key, JSON, max_size=2)),
            intermediate_values=data.draw(st.dictionaries(STEP, REPORT, max_size=2)),
        )
        trial_id = process.storage.create_new_trial(ours, copy.deepcopy(template))
        number = self.memory.get_trial_number_from_id(self.memory.create_new_trial(model, template))
        assert process.storage.get_trial_number_from_id(trial_id) == number
        self.trials.append((study, number))
        self.suggested |= {(study, number, name) for name in names}

    def value_of(self, distribution):
        if isinstance(distribution, CategoricalDistribution):
            return st.sampled_from(distribution.choices)
        if isinstance(distribution, IntDistribution):
            return st.integers(distribution.low, distribution.high)
        return st.floats(distribution.low, distribution.high)

    def enqueue(self, who, name):
        for storage in (self.acting(who).storage, self.memory):
            optuna.load_study(study_name=name, storage=storage).enqueue_trial({"x": 0.5}, {"by": "hand"})
        number = len(self.memory.get_all_trials(self.study_ids(who, name)[1])) - 1
        self.trials.append((name, number))

    # ----------------------------------------------------------------------------------------- trials are written to

    @precondition(lambda self: self.trials)
    @rule(who=WHO, index=INDEX, told=st.booleans(), data=st.data())
    def train(self, who, index, told, data):
        """Several writes to a trial with no look in between, and perhaps its end."""
        if trial := self.pick(who, index):
            key, value = st.sampled_from(self.keys), JSON | st.sampled_from(self.texts)
            writes = st.one_of(
                st.tuples(st.just("suggest"), st.sampled_from(list(DISTRIBUTIONS)), st.booleans()),
                st.tuples(st.just("set_trial_intermediate_value"), STEP, REPORT),
                st.tuples(st.sampled_from(["set_trial_user_attr", "set_trial_system_attr"]), key, value),
            )
            for name, *args in data.draw(st.lists(writes, min_size=1, max_size=6)):
                if name == "suggest":
                    self.suggest(who, trial, *args, data)
                else:
                    self.both(who, trial, name, *args)
            if told and self.trainers.get(trial) == who:
                self.tell(who, trial, data.draw(ENDS), data.draw(NUMBER))

    def tell(self, who, trial, state, value):
        """The end of a trial of its own, which may wait for the end of `together`."""
        _, model = self.study_ids(who, trial[0])
        values = [value] * len(self.memory.get_study_directions(model))
        self.both(who, trial, "set_trial_state_values", state, values if state is COMPLETE else None)

    def suggest(self, who, trial, name, other, data):
        distribution = OTHERS.get(name, DISTRIBUTIONS[name]) if other else DISTRIBUTIONS[name]
        # Optuna sets a parameter once.
        if (*trial, name) not in self.suggested and not self.clashes(who, trial, name, distribution):
            # Optuna's cache has to have read the trial of another process.
            self.processes[who].storage.get_all_trials(self.study_ids(who, trial[0])[0])
            value = distribution.to_internal_repr(data.draw(self.value_of(distribution)))
            if self.both(who, trial, "set_trial_param", name, value, distribution) == "None":
                self.suggested.add((*trial, name))

    def clashes(self, who, trial, name, distribution):
        """Whether only SQL knows: the storage in memory does not look at templates."""
        _, model = self.study_ids(who, trial[0])
        known = self.memory._studies[model].param_distribution
        return name not in known and not self.kinds(model, name) <= {type(distribution)}

    def kinds(self, model, name):
        """The kinds of distribution that a parameter has in a study."""
        trials = self.memory.get_all_trials(model)
        return {type(trial.distributions[name]) for trial in trials if name in trial.distributions}

    @rule(who=WHO, step=STEP)
    def refuse(self, who, step):
        storage = self.acting(who).storage
        with pytest.raises(DuplicatedStudyError):
            storage.create_new_study([MINIMIZE], self.studies[0])
        for name, *args in (
            ("set_trial_intermediate_value", step, 0.5),
            ("set_trial_user_attr", "b", 1),
            ("set_trial_system_attr", "b", 1),
            ("set_trial_state_values", FAIL),
            ("get_trial",),
        ):
            with pytest.raises(KeyError):
                getattr(storage, name)(NOBODY, *args)

    # --------------------------------------------------------------------------------------------------- trials change

    @precondition(lambda self: self.trials)
    @rule(who=WHO, index=INDEX, state=ENDS, first=NUMBER, second=NUMBER, told=st.booleans())
    def end(self, who, index, state, first, second, told):
        """Also of a trial that the other process trains, which hears of it with its next report."""
        trial = self.trials[index % len(self.trials)]
        _, model = self.study_ids(who, trial[0])
        values = [first, second][: len(self.memory.get_study_directions(model))]
        self.both(who, trial, "set_trial_state_values", state, values if told or state is COMPLETE else None)
        flush(self.processes[who].storage)
        other = self.processes[1 - who].storage
        ours, _ = self.trial_ids(who, trial)
        with contextlib.suppress(UpdateFinishedTrialError):
            other.set_trial_intermediate_value(ours, 0, 0.125)
        flush(other)

    @precondition(lambda self: self.trials)
    @rule(who=WHO, index=INDEX, state=st.sampled_from([RUNNING, WAITING]))
    def start_or_put_back(self, who, index, state):
        """What waits begins; what runs says that somebody else was faster, or goes back to wait."""
        if (trial := self.pick(who, index)) and self.both(who, trial, "set_trial_state_values", state) == "True":
            if state is RUNNING:
                self.started(who, trial)
            else:
                self.trainers.pop(trial, None)

    # ---------------------------------------------------------------------------------------------- blocks and storages

    @rule(who=WHO, ends=st.booleans())
    def together(self, who, ends):
        process = self.acting(who)
        if ends:
            process.together.close()
        else:
            process.together.enter_context(process.storage._backend.together())

    @rule(who=WHO, index=INDEX, count=st.integers(1, 4), asked=st.integers(0, 4))
    def reserving(self, who, index, count, asked):
        """A block for a study, with trials that are asked in it; the end of all where the study has one."""
        study = self.studies[index % len(self.studies)]
        process = self.acting(who)
        if study in process.reserves:
            self.end_reserving(who)
            return
        reserve = Reserve(count, contextlib.ExitStack())
        reserve.block.enter_context(process.storage._backend.reserving(self.study_ids(who, study)[0], count))
        process.reserves[study] = reserve
        for _ in range(asked):
            self.ask(who, study)

    def end_reserving(self, who):
        process = self.acting(who)
        for study, reserve in process.reserves.items():
            reserve.block.close()
            _, model = self.study_ids(who, study)
            for number in reserve.made:
                trial_id = self.memory.get_trial_id_from_study_id_trial_number(model, number)
                self.memory.set_trial_state_values(trial_id, WAITING)
                self.memory.get_trial(trial_id).datetime_start = None
                self.trials.append((study, number))
        process.reserves.clear()

    @rule(who=WHO, how=st.sampled_from(["flush", "flush", "close and go on", "close", "drop", "pickle"]))
    def write(self, who, how):
        process = self.acting(who)
        if how == "flush":
            flush(process.storage)
        elif how == "close and go on":
            close(process.storage)
        else:
            self.reopen(who, how)

    def reopen(self, who, how):
        process = self.acting(who)
        self.end_reserving(who)
        process.together.close()
        if how == "pickle":
            process.storage = pickle.loads(pickle.dumps(process.storage))
        else:
            if how == "close":
                close(process.storage)
            process.storage = None
            gc.collect()
            process.storage = open_storage(self.url)
        for study in self.studies:  # as whoever trains does first: Optuna's cache knows no trial by its id alone
            process.storage.get_all_trials(self.study_ids(who, study)[0])

    # --------------------------------------------------------------------------------------------------- what they see

    @invariant()
    def all_read_the_same(self):
        if self.looks != "nobody":
            self.look(self.last)
        if self.looks == "everybody":
            self.everybody_looks()

    def everybody_looks(self):
        flush(self.processes[self.last].storage)
        for who in (0, 1):
            self.look(who)
        self.compare(self.plain, lambda study: set())

    def look(self, who):
        process = self.processes[who]
        self.compare(process.storage, process.hides)

    def compare(self, storage, hides):
        found = {each.study_name: each for each in storage.get_all_studies()}
        assert found.keys() == set(self.studies)
        for expected in self.memory.get_all_studies():
            study = found[expected.study_name]
            assert study.directions == expected.directions
            for kind in ("user_attrs", "system_attrs"):
                attrs = sorted(getattr(expected, kind).items())
                assert repr(sorted(getattr(study, kind).items())) == repr(attrs)
            self.compare_trials(storage, study._study_id, expected._study_id, hides(expected.study_name))

    def compare_trials(self, storage, ours, model, hidden):
        trials = [trial for trial in self.memory.get_all_trials(model) if trial.number not in hidden]
        expected = [content(trial) for trial in trials]
        found = storage.get_all_trials(ours)
        assert [content(trial) for trial in found] == expected
        for trial in found:  # the copies are the reader's own
            trial.user_attrs["read"] = True
            trial.intermediate_values[99] = 0.0
        found = storage.get_all_trials(ours, deepcopy=False)
        assert [content(trial) for trial in found] == expected
        wanted = next(self.filters)
        if not hidden or wanted != (WAITING,):  # who has reserved trials gets those, and looks for no other
            chosen = [content(trial) for trial in trials if trial.state in wanted]
            assert [content(trial) for trial in storage.get_all_trials(ours, states=wanted)] == chosen
        if storage is self.plain:
            return
        if found:
            at = next(self.turns) % len(found)
            self.compare_one(storage, ours, found[at], expected[at])
        if len(self.memory.get_study_directions(model)) == 1:
            best = outcome(lambda: storage.get_best_trial(ours).value + 0.0)
            assert best == outcome(lambda: self.memory.get_best_trial(model).value + 0.0)

    def compare_one(self, storage, study_id, trial, expected):
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        assert trial_id == trial._trial_id
        assert content(storage.get_trial(trial_id)) == expected
        for name, distribution in list(trial.distributions.items())[:1]:
            internal = distribution.to_internal_repr(trial.params[name])
            assert math.isclose(storage.get_trial_param(trial_id, name), internal)

    def teardown(self):
        for who, process in enumerate(self.processes):
            self.end_reserving(who)
            process.together.close()
        self.everybody_looks()
        for process in self.processes:
            close(process.storage)
        self.compare(self.plain, lambda study: set())
        self.compare(open_storage(self.url), lambda study: set())
        if self.plain.engine.name == "sqlite":
            with self.plain.engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        self.plain.engine.dispose()


EXAMPLES = {"sqlite": (4, 30), "postgresql": (3, 20), "mysql": (3, 20)}  # and steps


def machine_for(url):
    """The machine on a database, whose tables it makes."""
    close(open_storage(url))
    more = sqlalchemy.make_url(url).get_backend_name() == "sqlite"
    given = {"url": url, "keys": KEYS + more * MORE_KEYS, "texts": TEXTS + more * MORE_TEXTS}
    return type("OfThis", (Machine,), given)


@pytest.mark.timeout(900)  # a failure is made small first
def test_two_processes_read_what_the_storage_in_memory_reads(database_url, monkeypatch):
    machine = machine_for(database_url)
    monkeypatch.setattr(storages, "BufferedRDBStorage", Opened)
    monkeypatch.setattr(buffer, "_GLANCE", 0.0)  # what others do is seen at once
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    examples, steps = EXAMPLES[sqlalchemy.make_url(database_url).get_backend_name()]
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    run_state_machine_as_test(machine, settings=settings)
