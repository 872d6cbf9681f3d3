import pytest

from nas.passwords import without_password


@pytest.mark.parametrize("url", ["sqlite:///a.db", "postgresql://me@host/db"])
def test_a_url_without_a_password_stays(url):
    assert without_password(url) == url


@pytest.mark.parametrize("query", ["password=secret", "user=me&password=secret&ssl=1", "sslpassword=secret", "PASSWD=secret"])
def test_a_password_in_a_urls_query_is_hidden_as_well(query):
    shown = without_password(f"postgresql://host/db?{query}")
    assert "secret" not in shown and "***" in shown and ("ssl=1" in shown) == ("ssl=1" in query)


NO_URLS = """
postgresql://u:PW@host/db
postgresql:/u:PW@h
postgresql//u:PW@h
u:PW@h/db
//u:PW@h
redis://:PW@h
postgresql://u:P:PW/PW@h
postgresql://h/d?pwd=PW
postgresql://h/d?api_key=PW&x=1
mssql://h;Pwd=PW;x=1
host=h password=PW
postgresql://u:my PW@[::1]:5432/d
['postgresql://u:PW@h', 'x']
{'password': 'PW'}
{'url': 'postgresql://u:PW@h/d'}
search.storage=postgresql://u:PW@h
a:PW@h, b:PW@i
"""


@pytest.mark.parametrize("text", NO_URLS.strip().splitlines())
def test_a_password_is_hidden_in_what_is_no_url_too(text):
    assert "PW" not in without_password(text) and "***" in without_password(text)


HARMLESS = (
    "caformer@0.6G|runs/x:17|resources={cpu: 2}|[caformer@0.6G, poolformerv2@3M-params]|10.0.0.1:6379|sqlite:////a.db?timeout=3"
)


@pytest.mark.parametrize("text", HARMLESS.split("|"))
def test_what_holds_no_password_stays(text):
    assert without_password(text) == text
