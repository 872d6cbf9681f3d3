"""Sources as they are sent to the processes that decode."""

import pickle
import tarfile

import pytest

from nas.data.registry import open_source


@pytest.mark.parametrize("kind", ["digits", "folder", "tar"])
def test_another_process_reads_the_same_images(folder, tmp_path, own_cache, kind):
    """Where processes are not forked, all that they need is pickled."""
    if kind == "tar":
        with tarfile.open(tmp_path / "images.tar", "w") as tar:
            tar.add(folder, arcname="images")
    data = {"digits": "digits", "folder": str(folder), "tar": str(tmp_path / "images.tar")}[kind]
    source = open_source(data)
    sent = pickle.loads(pickle.dumps(source))
    name = next(iter(source.train.values()))[0]
    (ours, checksum), (theirs, other) = (each.read(each.place(name)) for each in (source, sent))
    assert ours.tobytes() == theirs.tobytes() and checksum == other
