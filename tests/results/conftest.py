from tests.studies import opened  # noqa: F401
