"""What is no tree of class folders is refused in one message."""

from tests.images import class_folders, picture, refusal


def test_a_missing_folder_is_refused_with_the_other_choices(tmp_path):
    assert "digits" in refusal(tmp_path / "nowhere")


def test_a_folder_without_class_folders_is_refused(tmp_path):
    picture(tmp_path / "images" / "one.png")
    assert "one folder for each class" in refusal(tmp_path / "images")


def test_a_val_folder_without_train_is_refused(tmp_path):
    class_folders(tmp_path / "images" / "val")
    assert "train/" in refusal(tmp_path / "images")
