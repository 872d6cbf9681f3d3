"""Broken images are counted, named and replaced; data that can't serve a recipe is refused before any training."""

from collections import Counter

from PIL import Image

from nas.data.decoding import decode
from nas.data.manifest import load_split
from tests.images import ids, manifest_of, picture, refusal


def truncated(path, seed=0):
    picture(path, seed=seed, size=(64, 64))
    path.write_bytes(path.read_bytes()[:400])


def test_too_many_unreadable_images_are_refused_with_their_names(folder):
    truncated(folder / "ant" / "zzz.jpg")
    text = refusal(folder)
    assert "1 of 31" in text
    assert "ant/zzz.jpg" in text


def test_unreadable_images_below_the_share_are_left_out_and_listed(folder):
    truncated(folder / "ant" / "zzz.jpg")
    (folder / "bee" / "zzz.png").write_bytes(b"no picture")
    (folder / "cat" / "notes.txt").write_text("notes")
    manifest = manifest_of(folder, unreadable_share=0.1)
    assert {name for name, _ in manifest.skipped} == {"ant/zzz.jpg", "bee/zzz.png", "cat/notes.txt"}
    assert not ids(manifest, "train", "validation", "test") & {name for name, _ in manifest.skipped}


def test_an_unreadable_image_is_replaced_where_the_class_has_more_than_asked_for(folder):
    for i in range(3):
        truncated(folder / "ant" / f"zz{i}.jpg")
    manifest = manifest_of(folder, unreadable_share=0.5, images_per_class=7)
    assert set(Counter(label for _, label in (*manifest.train, *manifest.validation)).values()) == {7}


def test_the_pixels_of_a_drawn_set_are_its_images_although_some_were_unreadable(folder):
    for i in range(3):
        truncated(folder / "ant" / f"zz{i}.jpg")
    manifest = manifest_of(folder, unreadable_share=0.5, images_per_class=7, image_size=10)
    for split in ("train", "validation", "test"):
        images, items = load_split(manifest, split, image_size=10), getattr(manifest, split)
        assert images.labels.tolist() == [label for _, label in items]
        for pixels, (name, _) in zip(images.pixels, items, strict=True):
            assert (pixels == decode(Image.open(folder / name), 10)).all()
