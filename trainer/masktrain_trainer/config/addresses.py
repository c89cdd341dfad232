"""Addresses of stores and links: which of them may carry a key, and what of them a person may see.

The signs of a key are regular expressions that the API server reads, too, as rules of the CRD: RE2, and no backslash.
"""

import re
from urllib.parse import quote, unquote

# S3 takes lower-case letters, digits, dots and dashes; Oracle also capitals and underscores.
BUCKET = r"(s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]|oci://[A-Za-z0-9._\-]{1,256}@[A-Za-z0-9._\-]{1,128})"
LINK = r"https://[^\s/@]+/\S+"

ENDPOINT_WITH_LOGIN = (
    "store.endpoint must not hold a login (user:password@), a query (?token=), a pre-authenticated request (/p/token/) "
    "or percent-encoding, which hides them: everybody who reads the job would see it; put the keys into the Secret of "
    "store.credentialsSecretRef."
)
WEIGHTS_WITH_QUERY = (
    "model.weights must not be an https:// URL with a query or with a pre-authenticated request (/p/token/n/), in "
    "which signed URLs carry their key, nor with /../ or letters as %70, which hide them: put the URL into a Secret "
    "and name that in model.weightsSecretRef."
)
DATASET_WITH_QUERY = (
    "dataset.uri must not be an https:// link with a query or with a pre-authenticated request (/p/token/n/), in "
    "which download links carry their key, Roboflow's too, nor with /../ or letters as %70, which hide them: put the "
    "link into a Secret and name that in dataset.uriSecretRef."
)
# Oracle's pre-authenticated requests are /p/<token>/n/<namespace>/b/<bucket>/o/<object>; a client adds what follows the
# token to an endpoint itself. Tokens have no dots, files have. The API server decodes nothing, so its rules tell what
# a server may read as such a path: with more slashes, encoded ones (Oracle's own links have them in names of objects),
# other letters, and parameters of a segment; and refuse what only hides one, like a p written %70. No backslashes:
# these stand in strings of CEL, too.
_SLASH = "(/|%2f)"
_P, _N = "p(;[^/]*)?", "n(;[^/]*)?"
_PREAUTHENTICATED = f"{_SLASH}{_P}{_SLASH}+[^/]+{_SLASH}+{_N}{_SLASH}"
_PREAUTHENTICATED_END = f"/{_P}/+[^/.]+/*$"
_HIDDEN = f"%([57]0|[46]e|2e|25[0-9a-f][0-9a-f])|{_SLASH}[.][.]?({_SLASH}|$)"
ENDPOINT_SIGNS = f"(?i)[@?#%]|/[.][.]?(/|$)|{_PREAUTHENTICATED}|{_PREAUTHENTICATED_END}"
LINK_SIGNS = f"(?i)[?#]|{_HIDDEN}|{_PREAUTHENTICATED}"
_TOKEN_IN_PATH = re.compile("(?i)/p/(?:[^/]+(?=/n/)|[^/.]+(?=/?$))")
_DECODINGS = 8
"""As often as a path is decoded at most: no server decodes it more than twice."""


def holds_secret(endpoint: str) -> bool:
    """Whether a store's address may carry a login or a token."""
    return re.search(ENDPOINT_SIGNS, endpoint) is not None


def is_signed(link: str) -> bool:
    """Whether the https:// URL of weights or of a data set may carry a key."""
    return link.startswith("https://") and re.search(LINK_SIGNS, link) is not None


_MIRROR = re.compile(rf"{BUCKET}(/.*)?|https://[^\s/]+(/\S*)?")


def mirror_objection(mirror: str) -> str | None:
    """Why this is no prefix that a copy of YOLOv5's release may have, as the rest of a sentence that begins with the
    setting's name. The prefix itself is not in it: it may hold a key.
    """
    if not _MIRROR.fullmatch(mirror):
        return "must be a prefix that begins with s3://bucket, oci://bucket@namespace or https://host"
    if mirror.startswith("https://") and holds_secret(mirror):
        return (
            "must not hold a login (user:password@), a query (?token=) or a pre-authenticated request (/p/token/): "
            "everybody who reads a pod would see it"
        )
    return None


def shown_url(url: str) -> str:
    """For people: of an address on the web not the login, the token, the query and the fragment."""
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in ("http", "https"):
        return url
    host, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
    path = f"{slash}{path}"
    around = _TOKEN_IN_PATH.split(_as_servers_read(path))
    shown = path if len(around) == 1 else "/p/…".join(map(quote, around))
    return f"{scheme}{separator}{host.rpartition('@')[2]}{shown}"


_URL_IN_TEXT = re.compile("(?i)https?://[^\\s\"']+")


def shown_text(text: str) -> str:
    """For people: words of which any may be an address on the web, each as `shown_url` has it."""
    return _URL_IN_TEXT.sub(lambda found: shown_url(found[0]), text)


def _as_servers_read(path: str) -> str:
    """Decoded, without empty segments, dots and parameters: all that one server or another makes of it."""
    for _ in range(_DECODINGS):
        path = unquote(path)
    kept: list[str] = []
    for segment in (part.partition(";")[0] for part in path.split("/")):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/".join(["", *kept, *([""] if path.endswith("/") else [])])
