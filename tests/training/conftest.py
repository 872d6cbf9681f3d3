from tests.fixtures import folder, one_thread, own_cache, split_folder, tiny  # noqa: F401
