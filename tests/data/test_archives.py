"""A tar of class folders gives what the folders give; a packed one is unpacked once; a damaged one is refused by name."""

import gzip
import io
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas.callbacks import ignore
from nas.data import archives, decoding
from nas.data.archives import Span, open_archive
from nas.data.decoding import decode, decoded
from nas.data.draw import make_manifest
from nas.data.manifest import load_split
from nas.data.registry import open_source
from nas.errors import ConfigError, NasError
from nas.recipes.recipe import Recipe
from tests.images import class_folders, picture

BUILDER = """
import sys, time
from pathlib import Path
from nas.data import archives

def slowly(*args):
    with open(sys.argv[2], "a") as log:
        log.write("built ")
    time.sleep(float(sys.argv[3]))
    return unpack(*args)

unpack = archives.UNPACK[bytes([31, 139])]
archives.UNPACK[bytes([31, 139])] = slowly
print(len(archives.open_archive(Path(sys.argv[1]), lambda *_: None).entries))
"""


def tar_of(folder, path, *, top="images"):
    """A tar of what is in `folder`, packed as the suffix says; `top` takes its place in the names."""
    with tarfile.open(path, f"w:{path.suffix[1:].replace('tar', '').replace('tgz', 'gz')}") as tar:
        tar.add(folder, arcname=top)
    return path


def manifest_of(path, **values):
    return make_manifest(Recipe(data=str(path), image_size=8, **values), seed=0)


def opened(path):
    return open_archive(path, ignore)


def refusal(path):
    with pytest.raises(ConfigError) as caught:
        open_source(str(path))
    return str(caught.value)


def unpacked(cache):
    """The one unpacked tar."""
    (path,) = cache.glob("unpacked-*.tar")
    return path


def write_again(path, content):
    """Other bytes under the old time, as a failing disk would leave them."""
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def never_unpacked(monkeypatch):
    """From when it is called no tar may be unpacked."""
    return lambda: monkeypatch.setattr(archives, "_unpacked", lambda *_: pytest.fail("unpacked again"))


# The same as the folder


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_a_tar_gives_the_manifest_and_the_pixels_of_the_folder(split_folder, tmp_path, own_cache, suffix):
    path, manifest = tar_of(split_folder, tmp_path / f"images.{suffix}"), manifest_of(split_folder)
    assert manifest_of(path).hash == manifest.hash
    right = load_split(manifest, "test", image_size=8).pixels.tobytes()
    shutil.rmtree(own_cache)
    assert load_split(manifest, "test", image_size=8, root=path).pixels.tobytes() == right


@pytest.mark.parametrize("top", ["images", ".", "./images", "/images"])
@pytest.mark.parametrize("below", ["", "train"])
def test_one_folder_around_all_others_is_looked_through(tmp_path, top, below):
    root = tmp_path / "images"
    class_folders(root / below)
    picture(root / "stray.png")
    assert manifest_of(tar_of(root, tmp_path / "images.tar", top=top)).hash == manifest_of(root).hash


def test_a_tar_of_train_alone_is_not_looked_through(tmp_path):
    class_folders(tmp_path / "train")
    path = tar_of(tmp_path / "train", tmp_path / "train.tar", top="train")
    assert open_source(str(path)).train["ant"][0] == "train/ant/000.png"


def test_a_tar_in_a_tar_is_a_folder_as_in_imagenets(folder, tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for name in ("ant", "bee", "cat"):
            tar.add(tar_of(folder / name, tmp_path / f"{name}.tar", top="."), arcname=f"{name}.tar")
    assert manifest_of(tmp_path / "train.tar").hash == manifest_of(folder).hash


def test_long_and_foreign_names_survive_and_the_last_of_two_files_with_one_name_counts(tmp_path):
    root = class_folders(tmp_path / "images", classes=("ä" * 60, "b" * 110), images=3)
    path = tar_of(root, tmp_path / "images.tar")
    with tarfile.open(path, "a") as tar:
        tar.add(picture(tmp_path / "new.png", seed=99), arcname=f"images/{'ä' * 60}/000.png")
    assert manifest_of(path).hash != manifest_of(root).hash
    picture(root / ("ä" * 60) / "000.png", seed=99)
    assert manifest_of(path).hash == manifest_of(root).hash


def test_hidden_files_are_no_part_of_it(folder, tmp_path):
    before = manifest_of(folder).hash
    for name in ("._images.png", "ant/._000.png", ".hidden/000.png"):
        picture(folder / name)
    assert manifest_of(tar_of(folder, tmp_path / "images.tar", top=".")).hash == manifest_of(folder).hash == before


def test_other_processes_are_sent_no_index(folder, tmp_path, monkeypatch):
    for name, value in {"PROBE": 2, "PAYS": 0, "CHUNK": 3}.items():
        monkeypatch.setattr(decoding, name, value)
    source = open_source(str(tar_of(folder, tmp_path / "images.tar")))
    names = [name for names in source.train.values() for name in names]
    assert len(pickle.dumps(source.read)) < 500
    for name, image in zip(names, decoded([*map(source.place, names)], source.read, size=8), strict=True):
        assert image.pixels == decode(decoding.Image.open(folder / name), 8).tobytes()


def test_an_image_that_the_tar_no_longer_holds_is_named(folder, tmp_path):
    path = tmp_path / "images.tar"
    manifest = manifest_of(tar_of(folder, path))
    shutil.rmtree(folder / "bee")
    tar_of(folder, path)
    with pytest.raises(NasError, match=r"bee/\d+\.png of .* not now: no such file in .*images\.tar"):
        load_split(manifest, "train", image_size=10)


# What is left out, and what is refused


def test_links_and_other_strange_members_are_left_out_with_the_reason(folder, tmp_path):
    path = tar_of(folder, tmp_path / "images.tar")
    strange = {
        "ant/link.png": tarfile.SYMTYPE,
        "ant/again.png": tarfile.LNKTYPE,
        "bee/pipe.png": tarfile.FIFOTYPE,
        "bee/holes.png": tarfile.GNUTYPE_SPARSE,
        "../outside.png": tarfile.REGTYPE,
    }
    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT) as tar:
        for name, kind in strange.items():
            member = tarfile.TarInfo(f"images/{name}")
            member.type = kind
            tar.addfile(member)
    link, plain = "a link to nothing, which is no file of the tar", "not stored as a plain file"
    assert dict(manifest_of(path).skipped) == {
        "ant/link.png": link,
        "ant/again.png": link,
        "bee/pipe.png": plain,
        "bee/holes.png": plain,
        "../outside.png": "its name leads out of the tar",
    }


def test_a_class_whose_name_is_not_utf8_is_read_under_a_name_that_can_be_written(folder, tmp_path):
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
        for name in ("ant", "bee"):
            tar.add(folder / name, arcname=f"images/{name.replace('bee', 'ä')}")
    manifest = manifest_of(path)
    assert manifest.class_names == ("\\xe4", "ant")
    assert any(name.startswith("\\xe4/0") for name, _ in manifest.train)
    assert "names are not UTF-8" in manifest.notes[-1]


def add_link(tar, name, target, *, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    tar.addfile(member)


@pytest.mark.parametrize(
    ("kind", "target"),
    [(tarfile.LNKTYPE, "all/ant{}.png"), (tarfile.SYMTYPE, "../../all/ant{}.png"), (tarfile.SYMTYPE, "hop{}")],
)
def test_links_to_files_of_the_tar_are_followed(folder, tmp_path, kind, target):
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(10):
            tar.add(folder / "ant" / f"{i:03}.png", arcname=f"all/ant{i}.png")
            add_link(tar, f"train/ant/{i:03}.png", target.format(i), kind=kind)
            add_link(tar, f"train/ant/hop{i}", f"../../all/ant{i}.png", kind=tarfile.SYMTYPE)
        tar.add(folder / "bee", arcname="train/bee")
    source = open_source(str(path))
    assert list(source.train) == ["ant", "bee"]
    image, _ = source.read(source.place("train/ant/003.png"))
    assert (decode(image, 8) == decode(decoding.Image.open(folder / "ant" / "003.png"), 8)).all()
    assert ("all/", "passed over: not called like a split") in source.ignored


def test_links_that_lead_nowhere_out_of_the_tar_or_in_a_circle_are_named(folder, tmp_path):
    path = tar_of(folder, tmp_path / "images.tar")
    with tarfile.open(path, "a") as tar:
        for name, target in {
            "gone": "nothing.png",
            "out": "../../../etc/passwd",
            "round": "back.png",
            "back": "round.png",
        }.items():
            add_link(tar, f"images/ant/{name}.png", target, kind=tarfile.SYMTYPE)
    ignored = dict(open_source(str(path)).ignored)
    assert {name for name in ignored} == {f"ant/{name}.png" for name in ("gone", "out", "round", "back")}
    assert ignored["ant/gone.png"] == "a link to images/ant/nothing.png, which is no file of the tar"


@pytest.mark.parametrize("top", ["pets", "home/user/pets"])
@pytest.mark.parametrize("beside", ["README.md", "__MACOSX/pets/cat/._00.png", "logo.png"])
def test_what_lies_beside_the_folders_does_not_hide_them(split_folder, tmp_path, top, beside):
    path = tar_of(split_folder, tmp_path / "images.tar", top=top)
    with tarfile.open(path, "a") as tar:
        tar.add(split_folder / "train" / "ant" / "000.png", arcname=beside)
    assert manifest_of(path).hash == manifest_of(split_folder).hash


def test_a_zip_is_called_a_zip(tmp_path):
    (tmp_path / "images.tar").write_bytes(b"PK\3\4" + bytes(600))
    assert "it is a zip file" in refusal(tmp_path / "images.tar")


def test_a_tar_cut_short_anywhere_is_refused_by_name(tmp_path):
    whole = tar_of(class_folders(tmp_path / "images", images=2), tmp_path / "whole.tar").read_bytes()
    end = len(whole.rstrip(b"\0"))
    cut = tmp_path / "cut.tar"
    for size in (*range(0, end, 200), end):
        cut.write_bytes(whole[:size])
        assert refusal(cut).startswith(f"{cut}: must be a whole tar, plain or packed by gzip, bzip2 or xz, but: ")


def test_a_packed_tar_cut_short_is_refused_and_leaves_nothing(folder, tmp_path, own_cache):
    for suffix in ("gz", "bz2", "xz"):
        path = tar_of(folder, tmp_path / f"images.tar.{suffix}")
        path.write_bytes(path.read_bytes()[:-20])
        assert "ended before the end-of-stream marker" in refusal(path)
    assert not list(own_cache.glob("[!.]*"))


def test_a_damaged_packed_tar_is_refused(folder, tmp_path):
    path = tar_of(folder, tmp_path / "images.tar.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    assert "images.tar.gz: must be a whole tar" in refusal(path)


def test_a_damaged_header_in_the_middle_is_no_end(folder, tmp_path):
    path = tar_of(folder, tmp_path / "images.tar")
    with tarfile.open(path) as tar:
        middle = tar.getmembers()[20].offset
    content = bytearray(path.read_bytes())
    content[middle] ^= 1
    path.write_bytes(content)
    assert f"damaged at byte {middle:,}" in refusal(path)


def test_a_header_that_points_back_does_not_hang(folder, tmp_path):
    path = tar_of(folder, tmp_path / "images.tar")
    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("images/ant/back.png")
        member.size = -4096
        tar.addfile(member)
    assert "back.png" in refusal(path)


def test_an_inner_tar_without_its_end_does_not_run_into_the_outer(folder, tmp_path):
    inner = tar_of(folder / "ant", tmp_path / "ant.tar", top=".")
    inner.write_bytes(inner.read_bytes().rstrip(b"\0"))
    with tarfile.open(tmp_path / "outer.tar", "w") as tar:
        tar.add(inner, arcname="ant.tar")
        tar.add(folder / "bee", arcname="bee")
    assert "must be a whole tar" in refusal(tmp_path / "outer.tar")


@pytest.mark.parametrize("content", [b"", b"no tar at all", gzip.compress(b"no tar", mtime=0), b"PK\3\4" + bytes(600)])
def test_what_is_no_tar_is_refused_by_name_and_not_kept(tmp_path, own_cache, content):
    path = tmp_path / "images.tar"
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: must be a whole tar")
    assert not list(own_cache.glob("unpacked-*.tar"))


def test_zstd_is_refused_by_its_name(tmp_path):
    (tmp_path / "images.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    assert "packed by zstd" in refusal(tmp_path / "images.tar.zst")


@pytest.mark.parametrize("names", [[], ["flat.png"]])
def test_a_tar_without_class_folders_is_refused(tmp_path, names):
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    assert "one folder for each class" in refusal(tmp_path / "images.tar")


# Unpacked once


@pytest.fixture
def packed(folder, tmp_path):
    """A packed tar of three classes of ten images."""
    return tar_of(folder, tmp_path / "images.tar.gz")


def test_a_packed_tar_is_unpacked_once(packed, own_cache, never_unpacked):
    first = opened(packed)
    never_unpacked()
    assert opened(packed) == first
    assert first.plain.read_bytes() == gzip.decompress(packed.read_bytes())


def test_it_is_unpacked_anew_where_the_archive_changed(packed, folder, own_cache):
    opened(packed)
    picture(folder / "dog" / "000.png")
    tar_of(folder, packed)
    assert "images/dog/000.png" in opened(packed).entries
    unpacked(own_cache)


@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"x", lambda content: content[:-1000]])
def test_flipped_bytes_and_a_cut_in_what_was_unpacked_are_noticed(packed, own_cache, damage):
    opened(packed)
    right = unpacked(own_cache).read_bytes()
    write_again(unpacked(own_cache), damage(right))
    opened(packed)
    assert unpacked(own_cache).read_bytes() == right


def test_too_small_a_disk_is_refused_before_anything_is_unpacked(packed, own_cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(NasError, match=rf"{own_cache}: unpacking {packed} needs .* but only 10B are free .* set NAS_CACHE"):
        opened(packed)


def test_a_disk_that_fills_while_it_is_unpacked_gives_one_message_and_leaves_nothing(packed, own_cache):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))  # as a full disk, but needs no disk
    try:
        with pytest.raises(
            NasError, match=rf"{own_cache}/unpacked-.*: must be writable, but: File too large. Free the disk or"
        ):
            opened(packed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(own_cache.glob("[!.]*"))
    assert not list(own_cache.glob(".*.[0-9]*"))
    assert len(opened(packed).entries) == 34  # 30 images, 3 classes, and the folder around them


def test_of_two_processes_one_unpacks_and_the_other_waits_for_it(packed, tmp_path):
    command = [sys.executable, "-c", BUILDER, str(packed), str(tmp_path / "log"), "1.5"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == ["34", "34"]
    assert (tmp_path / "log").read_text() == "built "


def test_unpacking_is_told_in_bytes_of_the_archive_before_any_image(packed):
    told = []
    make_manifest(Recipe(data=str(packed)), seed=0, on_decoded=lambda *state: told.append(state))
    size = packed.stat().st_size
    assert told[:3] == [(0, size, "bytes"), (size, size, "bytes"), (0, 30, "images")]


def test_a_span_is_where_the_bytes_lie(tmp_path):
    with tarfile.open(tmp_path / "one.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("ant/0.png", "ant/1.png"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    assert opened(tmp_path / "one.tar").entries == {"ant/0.png": Span(512, 3), "ant/1.png": Span(1536, 3)}


@pytest.mark.parametrize("name", ["._ant.tar", "__MACOSX/ant.tar", "ant/._more.tar"])
def test_what_a_mac_leaves_beside_a_tar_in_a_tar_is_no_tar(folder, tmp_path, name):
    path = tar_of(folder, tmp_path / "images.tar")
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo(f"images/{name}")
        member.size = 600
        tar.addfile(member, io.BytesIO(b"\0\5\x16\7" * 150))
    assert manifest_of(path).hash == manifest_of(folder).hash


def test_a_damaged_tar_in_a_tar_is_named(folder, tmp_path):
    path = tar_of(folder, tmp_path / "images.tar")
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("images/dog.tar")
        member.size = 600
        tar.addfile(member, io.BytesIO(b"no tar" * 100))
    assert "images/dog.tar in it is cut short or damaged" in refusal(path)


def test_a_link_behind_a_file_of_its_name_takes_its_place(folder, tmp_path):
    path = tar_of(folder, tmp_path / "images.tar")
    with tarfile.open(path, "a") as tar:
        add_link(tar, "images/ant/000.png", "nowhere.png", kind=tarfile.SYMTYPE)
    source = open_source(str(path))
    assert "ant/000.png" not in source.train["ant"] and "ant/000.png" in dict(source.ignored)
