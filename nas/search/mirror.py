"""The trials of a study in memory, kept equal to the storage that they lie in by the one process that may write them.

Optuna's own storages read what is unfinished again at every question, and write each parameter of a new trial in a transaction
of its own: at 1,000 trials that took as long as the sampler, and longer where the storage is a server. Here nothing is read
twice, and a new trial is a draft until it is put down as a whole, in one transaction: killed before, it has never been.
"""

import json
from collections.abc import Container, Sequence
from copy import copy, deepcopy
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from nas.errors import NasError
from nas.run.patient_storage import PassingStorage


class Mirror(PassingStorage):
    """The storage `backend` as one that has this one `study`; a trial's id is its number here."""

    def __init__(self, backend: BaseStorage, study: int):
        super().__init__(backend)
        self._study, self._trials = study, [copy(trial) for trial in backend.get_all_trials(study, deepcopy=False)]
        self._ids = [trial._trial_id for trial in self._trials]  # of the backend, by number; what has none is a draft
        for number, trial in enumerate(self._trials):
            trial._trial_id = number

    def put_down(self, number: int) -> None:
        """Write a draft to the backend, as a whole; nothing where it is there already."""
        for draft in self._trials[len(self._ids) : number + 1]:
            there = self.backend.create_new_trial(self._study, draft)
            if self.backend.get_trial_number_from_id(there) != draft.number:
                raise NasError(
                    f"the record got a trial {draft.number} that this search did not write: something else writes to it, or "
                    "its server lost an answer. Nothing is lost. Start the same command again."
                )
            self._ids.append(there)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A draft; what is made after a template is put down at once."""
        trial, number = deepcopy(template_trial) or _new_trial(), len(self._trials)
        trial.number = trial._trial_id = number
        self._trials.append(trial)
        if template_trial is not None:
            self.put_down(number)
        return number

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """A parameter, in the draft or in both places."""
        self._pass("set_trial_param", trial_id, param_name, param_value_internal, distribution)
        trial, value = self._trials[trial_id], distribution.to_external_repr(param_value_internal)
        params, distributions = {**trial.params, param_name: value}, {**trial.distributions, param_name: distribution}
        self._change(trial_id, params=params, distributions=distributions)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """A fact, as it would be read again: JSON knows neither tuples nor enumerations."""
        self._pass("set_trial_user_attr", trial_id, key, value)
        self._change(trial_id, user_attrs={**self._trials[trial_id].user_attrs, key: json.loads(json.dumps(value))})

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """The same of Optuna's own."""
        self._pass("set_trial_system_attr", trial_id, key, value)
        self._change(trial_id, system_attrs={**self._trials[trial_id].system_attrs, key: json.loads(json.dumps(value))})

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """The end of a trial; or that one that was queued is begun, whose answer is False where it is begun already."""
        if state == TrialState.RUNNING and self._trials[trial_id].state != TrialState.WAITING:
            return False
        self._pass("set_trial_state_values", trial_id, state, values)
        when = "datetime_start" if state == TrialState.RUNNING else "datetime_complete"
        self._change(trial_id, state=state, **{when: datetime.now()}, **({"values": values} if values is not None else {}))
        return True

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial, not to be changed."""
        return self._trials[trial_id]

    def get_trial_number_from_id(self, trial_id: int) -> int:
        """The same."""
        return trial_id

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """The same."""
        return trial_number

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """What Optuna has put down of a trial."""
        return self._trials[trial_id].system_attrs

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """All trials, not to be changed, or those in one of the states."""
        return [trial for trial in self._trials if states is None or trial.state in states]

    def _pass(self, name: str, number: int, *arguments: Any) -> None:
        if number < len(self._ids):
            self._passed(name, self._ids[number], *arguments)

    def _change(self, number: int, **facts: Any) -> None:
        """In a copy: whoever looks at a trial sees it as it was."""
        trial = copy(self._trials[number])
        for name, value in facts.items():
            setattr(trial, name, value)
        self._trials[number] = trial


def _new_trial() -> FrozenTrial:
    """A trial of which nothing is known yet."""
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=datetime.now(),
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )
