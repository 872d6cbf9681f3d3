import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.registry import open_source
from nas.errors import NasError
from nas.interface.images import as_archive

ARRAYS = np.arange(4 * 6 * 6, dtype=np.uint8).reshape(4, 6, 6)  # grey
LABELS = [1, 0, 1, 0]


class Pairs(torch.utils.data.Dataset):
    def __init__(self, items, **facts):
        self.items = items
        for name, value in facts.items():
            setattr(self, name, value)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield ARRAYS[0], 0


class NoLength(torch.utils.data.Dataset):
    def __getitem__(self, i):
        return ARRAYS[0], 0


class Restless(Pairs):
    def __getitem__(self, i):
        return torch.rand(3, 6, 6), 0


def pixels_by_class(data) -> dict[str, list[np.ndarray]]:
    source = open_source(str(as_archive(data)))
    return {name: [np.asarray(source.read(source.place(i))[0]) for i in ids] for name, ids in source.train.items()}


FORMS = {
    "grey arrays": (ARRAYS, LABELS),
    "numpy labels": (ARRAYS, np.array(LABELS)),
    "floats": (ARRAYS.astype(np.float64) / 255, LABELS),
    "tensors": (torch.from_numpy(ARRAYS)[:, None], torch.tensor(LABELS)),
    "a data set of tensors": Pairs([(torch.from_numpy(a)[None] / 255, y) for a, y in zip(ARRAYS, LABELS, strict=True)]),
    "a data set of pictures": Pairs([(Image.fromarray(a), torch.tensor(y)) for a, y in zip(ARRAYS, LABELS, strict=True)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_come_back_as_they_were_given_whatever_holds_them(form):
    classes = pixels_by_class(FORMS[form])
    assert list(classes) == ["000", "001"]
    np.testing.assert_array_equal(classes["000"], ARRAYS[[1, 3]])
    np.testing.assert_array_equal(classes["001"], ARRAYS[[0, 2]])


def test_equal_images_are_one_archive_and_others_another():
    one, other = as_archive((ARRAYS, LABELS)), as_archive((ARRAYS, LABELS[::-1]))
    assert as_archive((ARRAYS.copy(), LABELS)) == one != other


def test_colours_stay_and_classes_keep_their_names_and_the_order_of_their_labels():
    colours = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)
    pairs = Pairs(list(zip(torch.from_numpy(colours), LABELS, strict=True)), classes=["zebra", "ant"])
    classes = pixels_by_class(pairs)
    assert list(classes) == ["000000_zebra", "000001_ant"]
    np.testing.assert_array_equal(classes["000001_ant"][0], colours[0].transpose(1, 2, 0))


FAULTS = {
    "a stream": (Stream(), "must have a length and numbered items, but Stream has not"),
    "no length": (NoLength(), "must have a length"),
    "nothing": (Pairs([]), "must hold images, but holds none"),
    "no arrays": ((ARRAYS[:0], []), "must hold images, but holds none"),
    "images alone": (Pairs(list(ARRAYS)), "must give pairs (image, label), but gives ndarray"),
    "labels too few": ((ARRAYS, LABELS[:3]), "has 4 images and 3 labels"),
    "a label that is a fraction": ((ARRAYS, [0, 0.5, 1, 1]), "the label of image 1 must be a whole number from 0, but is 0.5"),
    "a label that is a word": (
        (ARRAYS, ["a", "b", "a", "b"]),
        "the label of image 0 must be a whole number from 0, but is 'a'",
    ),
    "a label that is a vector": ((ARRAYS, np.eye(4)), "the label of image 0 must be a whole number from 0"),
    "a label that is a flag": ((ARRAYS, [True, False, True, False]), "must be a whole number from 0, but is True"),
    "a label below 0": ((ARRAYS, [0, -1, 0, 1]), "must be a whole number from 0, but is -1"),
    "a label beyond its names": (
        Pairs([(ARRAYS[0], 2)], classes=["a", "b"]),
        "must be below 2, the number of classes, but is 2",
    ),
    "several sizes": (
        Pairs([(ARRAYS[0], 0), (ARRAYS[0, :5], 1)]),
        "images must all be of one size, but image 0 has 6x6 px and image 1 has 6x5. Resize them",
    ),
    "normalised images": ((ARRAYS.astype(np.float32) - 70, LABELS), "floats must lie from 0 to 1, but lie from -70 to -35"),
    "no numbers": ((np.full((2, 6, 6), np.nan), [0, 1]), "floats must lie from 0 to 1"),
    "whole numbers of 64 bits": ((ARRAYS.astype(np.int64), LABELS), "must be uint8, or floats from 0 to 1, but is int64"),
    "five channels": (
        (np.zeros((2, 6, 6, 5), np.uint8), [0, 1]),
        "must be (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels",
    ),
    "vectors": ((np.zeros((2, 6), np.uint8), [0, 1]), "must be (H, W), (H, W, C) or (C, H, W)"),
    "random augmentation": (Restless([0, 0]), "must give the same image each time"),
    "a number": (7, "must have a length and numbered items, but int has not"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_data_is_refused_in_one_line_and_leaves_nothing(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    data, rule = FAULTS[fault]
    with pytest.raises(NasError) as raised:
        as_archive(data)
    assert str(raised.value).startswith("data: ") and rule in str(raised.value) and "\n" not in str(raised.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Torn:
    """A data set whose own code fails at its seventh item."""

    def __len__(self):
        return 12

    def __getitem__(self, number):
        if number == 6:
            raise OSError("the disk is gone")
        return np.full((8, 8, 3), number, dtype=np.uint8), number % 3


def test_what_a_data_sets_own_code_raises_is_told_of_the_item_and_of_no_folder_of_ours():
    with pytest.raises(NasError, match=r"data: item 6 of Torn can't be read: OSError: the disk is gone. Mend the data set"):
        as_archive(Torn())


def test_images_of_one_class_are_refused_before_they_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    with pytest.raises(NasError, match="must have images of 2 classes at least, but has one label"):
        as_archive((np.zeros((4, 8, 8), dtype=np.uint8), [1, 1, 1, 1]))
    assert list((tmp_path / "given").iterdir()) == []
