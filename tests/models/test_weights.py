"""Files that are given as weights, told by their first bytes."""

import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file, save_file

from nas.models.weights import Content, content_of, conversion, why_refused

TENSORS = {"stem.weight": torch.arange(6.0).reshape(2, 3), "shared": torch.ones(2)}


def saved(path, content=TENSORS, **options):
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.safetensors", "w"])
@pytest.mark.parametrize(
    "write",
    [
        saved,
        lambda path: saved(path, _use_new_zipfile_serialization=False),
        *(lambda path, p=protocol: path.write_bytes(pickle.dumps({"a": [1, 2]}, protocol=p)) for protocol in range(6)),
        *(lambda path, p=protocol: path.write_bytes(pickle.dumps(OrderedDict(a=1), protocol=p)) for protocol in range(6)),
    ],
)
def test_a_pickle_is_one_whatever_it_is_called(write, name, tmp_path):
    write(tmp_path / name)
    assert content_of(tmp_path / name) is Content.PICKLE


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.bin", "w"])
def test_safetensors_are_them_whatever_they_are_called(name, tmp_path):
    save_file(TENSORS, tmp_path / name)
    assert content_of(tmp_path / name) is Content.SAFETENSORS


def test_a_header_whose_length_looks_like_a_zip_archive_or_a_pickle_is_a_header(tmp_path):
    for first in (b"PK\x03\x04", b"\x80\x02\0\0"):
        (tmp_path / "w").write_bytes(first + bytes(4) + b'{"a":')
        assert content_of(tmp_path / "w") in (Content.SAFETENSORS, Content.ARCHIVE)
    (tmp_path / "w").write_bytes(struct.pack("<Q", 0x4B50) + b"{" + b" " * 100)
    assert content_of(tmp_path / "w") is Content.SAFETENSORS


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"", Content.EMPTY),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", Content.POINTER),
        (b"\n<!DOCTYPE html>\n<html>", Content.PAGE),
        (b"\xef\xbb\xbf<HTML><body>Not found", Content.PAGE),
        (b"Entry not found", Content.UNKNOWN),
        (b"Not Found", Content.UNKNOWN),
        (b'{"error": "Repository not found"}', Content.UNKNOWN),
        (b"(see the wiki)", Content.UNKNOWN),
        (b"\x1f\x8b\x08\0", Content.UNKNOWN),
    ],
)
def test_what_else_came_from_a_download_is_said(content, kind, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    assert content_of(tmp_path / "w.safetensors") is kind
    assert why_refused(tmp_path / "w.safetensors", kind).endswith(".")


def test_what_is_no_file_is_said_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "")
    kinds = {"pipe": Content.SPECIAL, "nowhere": Content.MISSING, ".": Content.FOLDER, "a.zip": Content.ARCHIVE}
    assert {name: content_of(tmp_path / name) for name in kinds} == kinds


def test_a_cut_archive_of_torch_is_told_by_its_name(tmp_path):
    whole = saved(tmp_path / "whole.pth").read_bytes()
    for name, kind in (("cut.pth", Content.PICKLE), ("cut.safetensors", Content.ARCHIVE)):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert content_of(tmp_path / name) is kind


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w.pth", "my weights (1).pt", "it's.ckpt", 'a"b\\c.bin', "größe.pth", "wrong.safetensors"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_the_command_that_is_named_converts_it(wrapper, name, tmp_path):
    path = saved(tmp_path / name, {wrapper: TENSORS, "epoch": 3} if wrapper else TENSORS)
    command = conversion(path).replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True)
    target = next(file for file in tmp_path.iterdir() if file != path)
    assert target.suffix == ".safetensors" and content_of(target) is Content.SAFETENSORS
    assert all(torch.equal(tensor, TENSORS[key]) for key, tensor in load_file(target).items())
