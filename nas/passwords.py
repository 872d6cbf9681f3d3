"""What is secret in a text from outside, taken out before anybody sees it: whatever shows or writes an address asks here."""

import re

MASK = "***"
LOGINS = (
    re.compile(r"([A-Za-z][\w+.-]*:/{1,3}[^\s:/@]*):.*@"),
    re.compile(r"""((?:^|[\s'"=,{[/])[^\s:/@'"=,{[]*):(?!/)[^\s'"]*@"""),
)
"""USER:PASSWORD@ behind a scheme, where a password may hold anything; and without one, in what was to be an address."""
FIELD = re.compile(
    r"""(?P<name>(?:^|[?&;,\s{'"(])[^?&;,\s{'"(=:]*(?:pass|pwd|secret|token|key|auth|credential|signature)[^?&;,\s{'"(=:]*['"]?\s*"""
    r"""(?:=|:\s)\s*['"]?)[^?&;,\s'"})]+""",
    re.IGNORECASE,
)
"""A field that is called like a password, in a query, a connection string or a mapping."""


def without_password(text: str) -> str:
    """A text that can be shown and written down: of every address in it the password is hidden."""
    for login in LOGINS if "@" in text else ():
        text = login.sub(rf"\1:{MASK}@", text)
    return FIELD.sub(rf"\g<name>{MASK}", text)
