import io

import pytest
from rich.console import Console

from nas.errors import NasError
from nas.run.folder import open_folder
from nas.search.study import Study
from nas.winners.show import show_network
from tests.studies import epoch


@pytest.fixture
def run(tiny, tmp_path):
    """A run of two trials, the first complete after two epochs, the second failed."""
    folder = open_folder(tmp_path / "run", tiny())
    study = Study(tiny(), folder, manifest_hash="feed")
    number = study.propose().number
    study.report(number, epoch(1, 0.25))
    study.report(number, epoch(2, 0.5))
    study.finish(number, accuracy=0.5, seconds=4.0)
    study.fail(study.propose().number, cause="diverged: loss nan", seconds=1.0)
    study.close()
    return folder.root, study.records


def shown(target) -> str:
    output = io.StringIO()
    show_network(str(target), Console(file=output, width=140))
    return output.getvalue()


def test_a_network_is_shown_with_settings_costs_curve_and_commands(run):
    root, records = run
    text = shown(f"{root}:0")
    assert f"{root}:0: {records[0].architecture.describe()}, trained in full, 50.0 %" in text
    assert "mixer" in text and "stage 3" in text and "stem_stride" in text
    assert "MACs" in text and "proposed by" in text and "2    50.0 %" in text
    assert f"retrain {root} --trial 0 --recipe digits_quick" in text and "nas export" not in text  # no weights were kept


def test_a_failed_one_says_why_and_no_command(run):
    text = shown(f"{run[0]}:1")
    assert "failed, diverged: loss nan" in text and "retrain" not in text


def test_a_run_alone_is_no_network(run):
    with pytest.raises(NasError, match=r"must name one network of a run, such as .*run:17"):
        shown(run[0])
