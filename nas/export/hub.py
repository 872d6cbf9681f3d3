"""An exported directory on the Hugging Face hub, by timm's own function for it."""

import json
import sys
from pathlib import Path

import timm
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not marked as exported
from torch import nn

from nas.errors import ConfigError, NasError, in_one_line
from nas.export.formats.table import WRITERS
from nas.export.fresh import load_stub

FORMATS = [pattern for writer in WRITERS.values() for file in writer.files for pattern in (file, f"{file}/*")]
OURS = ["config.json", "README.md", "model.py", *FORMATS]  # timm's function sends a config.json too, this one was proven


def check_hub(repository: str) -> None:
    """Nothing, if an upload to `repository` can begin; ConfigError for another form than ORG/NAME, NasError without a token."""
    try:
        validate_repo_id(repository)
        well_formed = repository.count("/") == 1
    except HFValidationError:
        well_formed = False
    if not well_formed:
        raise ConfigError(f"--push must be ORG/NAME, as in https://huggingface.co/ORG/NAME, but got {repository!r}.")
    if get_token() is None:
        raise NasError(
            f"--push {repository} needs a token of the Hugging Face hub, but this machine has none. Make one that may write "
            "(Settings, Access Tokens), then `hf auth login`, or put it into HF_TOKEN."
        )


def push_directory(directory: Path, repository: str, *, private: bool) -> str:
    """Uploads an export and returns its address; NasError, the directory left as it is, where the hub can't be reached."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    extras = {key: config[key] for key in ("metaformer", "label_names") if key in config}
    try:
        timm.models.push_to_hf_hub(
            _loaded(directory, config["architecture"]),
            repository,
            commit_message=f"Add {config['architecture']}",
            private=private,
            model_config=extras,
            model_card={"license": config["pretrained_cfg"]["license"]},  # until ours follows
            safe_serialization=True,
        )
        HfApi().upload_folder(
            repo_id=repository,
            folder_path=directory,
            allow_patterns=OURS,
            commit_message="Add the model card and what belongs to it",
        )
    except Exception as error:  # every version of the hub's library has another HTTP library's errors
        why = in_one_line(error)
        raise NasError(
            f"--push {repository}: the upload failed: {why}. The export is complete in {directory}; "
            "mend this and give the same command again with --force."
        ) from None
    return f"https://huggingface.co/{repository}"


def _loaded(directory: Path, name: str) -> nn.Module:
    """The network of that name as timm makes it from the directory, in which nothing is left behind."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        if (directory / "model.py").is_file():
            load_stub(directory, name)
        return timm.create_model(f"local-dir:{directory}", pretrained=True)
    finally:
        sys.dont_write_bytecode = before
