"""Broken images are counted, named and replaced; data that can't serve a recipe is refused before any training."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from nas.data.decoding import decode
from nas.data.manifest import load_split
from tests.images import ids, manifest_of, photo, picture, refusal


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


def photos(root, *, size):
    """Two classes of ten large JPEG files."""
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for i in range(10):
            photo(*size, seed=i + 100 * (name == "bee")).save(root / name / f"{i}.jpg", quality=90)
    return root


@pytest.mark.parametrize("again", [False, True], ids=["with the manifest", "for another machine"])
def test_large_jpegs_are_decoded_smaller_for_training_and_in_full_for_judging(tmp_path, own_cache, again):
    folder = photos(tmp_path / "images", size=(200, 160))
    manifest = manifest_of(folder, image_size=16)
    if again:
        for path in own_cache.glob("*.npy"):
            path.unlink()
    for split in ("train", "validation", "test"):
        pixels, items = load_split(manifest, split, image_size=16).pixels, getattr(manifest, split)
        exact = np.stack([decode(Image.open(folder / name), 16) for name, _ in items])
        apart = np.abs(pixels.astype(int) - exact)
        assert apart.max() <= (4 if split == "train" else 0) and (apart.max() > 0) == (split == "train")


def test_a_jpeg_that_is_not_four_times_as_large_is_decoded_in_full(tmp_path):
    folder = photos(tmp_path / "images", size=(70, 63))
    manifest = manifest_of(folder, image_size=16)
    exact = np.stack([decode(Image.open(folder / name), 16) for name, _ in manifest.train])
    assert (load_split(manifest, "train", image_size=16).pixels == exact).all()


# What is said of pixels


def deep_folders(root, *, top, dtype=np.uint16, suffix="png"):
    """Two classes of greyscale images that use values up to `top`."""
    rng = np.random.default_rng(0)
    for name in ("down", "right"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(10):
            values = rng.integers(0, top + 1, (12, 12)).astype(dtype)
            values[0, 0] = top
            Image.fromarray(values).save(root / name / f"{i:02}.{suffix}")
    return root


def test_sixteen_bits_are_said_in_the_manifest(tmp_path):
    manifest = manifest_of(deep_folders(tmp_path / "images", top=65_535))
    assert manifest.bits == 16
    (note,) = manifest.notes
    assert note.startswith(
        "20 images have 16 bits a channel: they are scaled so that 65,535 is white, where timm's own loaders"
    )


@pytest.mark.parametrize(
    ("top", "dtype", "suffix", "nearest"),
    [(4095, np.uint16, "png", 4095), (250, np.uint16, "png", 255), (200, np.int32, "tif", 255), (16, np.uint8, "png", 31)],
)
def test_values_that_come_out_dark_are_said_with_a_way_out(tmp_path, top, dtype, suffix, nearest):
    folder = deep_folders(tmp_path / "images", top=top, dtype=dtype, suffix=suffix)
    note = manifest_of(folder).notes[-1] if nearest != 255 else " ".join(manifest_of(folder).notes)
    assert f"proxy.white={nearest} and another --out for a search" in note
    bright = manifest_of(folder, white=top)
    assert bright.white == top
    assert load_split(bright, "train", image_size=12).pixels.max() == 255
    assert not any("dark" in note for note in bright.notes)


def test_another_white_makes_another_manifest_of_the_same_files(tmp_path):
    folder = deep_folders(tmp_path / "images", top=4095)
    assert len({manifest_of(folder).hash, manifest_of(folder, white=4095).hash, manifest_of(folder, white=255).hash}) == 3


def test_fractions_between_black_and_white_are_not_dark(tmp_path):
    folder = deep_folders(tmp_path / "images", top=1, dtype=np.float32, suffix="tif")
    for path in folder.rglob("*.tif"):
        Image.fromarray(np.asarray(Image.open(path)) * np.float32(0.9)).save(path)
    assert not any("dark" in note for note in manifest_of(folder, white=1, keep_copies=True).notes)


def test_values_above_white_are_counted(tmp_path):
    notes = manifest_of(deep_folders(tmp_path / "images", top=4095), white=1023).notes
    assert notes[1] == "20 of them hold values above white=1,023, up to 4,095, which are cut off"


def test_icons_that_stand_in_their_transparency_alone_are_named(folder):
    for i in range(10):
        icon = Image.new("RGBA", (12, 12), (0, 0, 0, 0))
        icon.paste((0, 0, 0, 255), (0, 0, i + 1, 12))
        icon.save(folder / "ant" / f"{i:03}.png")
    assert "10 images are drawn in their transparency alone" in manifest_of(folder).notes[-1]


def test_images_of_one_colour_are_counted(folder):
    Image.new("RGB", (12, 12), (0, 0, 0)).save(folder / "ant" / "000.png")
    assert manifest_of(folder).notes == ("1 images have one colour throughout as they are read, such as ant/000.png",)


def test_digits_and_photographs_need_no_remark(folder):
    assert manifest_of(folder).notes == ()
