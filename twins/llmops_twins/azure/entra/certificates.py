"""The twin's certificate authority. It signs one server certificate, then its key is deleted, so that nobody can abuse
the trust that clients place in it.

`env` points clients to a bundle of this machine's authorities and the twin's, so that other hosts stay reachable.
"""

import os
import re
import ssl
from contextlib import suppress
from pathlib import Path

import trustme

from llmops_kit.local_runtime.files import write_atomic

FOLDER = "tls"
AUTHORITY = "ca.pem"
BUNDLE = "bundle.pem"
_SERVER = "server.pem"
_KEPT_BEFORE = "ca.key"  # the authority's key, which earlier versions kept
_CERTIFICATE = re.compile(
    r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.*?-----END (?:TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_NAMES = ("localhost", "127.0.0.1", "::1", "host.docker.internal")


def make(home: Path) -> Path:
    """Returns the folder of the certificates, creating them if missing."""
    folder = home / FOLDER
    if not (folder / _SERVER).exists():
        authority = trustme.CA(organization_name="llmops twin of Azure")
        server = authority.issue_cert(*_NAMES)
        write_atomic(folder / AUTHORITY, authority.cert_pem.bytes().decode())
        write_atomic(folder / _SERVER, server.private_key_and_cert_chain_pem.bytes().decode())  # last: `make` checks it
    (folder / _KEPT_BEFORE).unlink(missing_ok=True)
    return folder


def server_context(home: Path) -> ssl.SSLContext:
    """Returns the TLS context of the twin's listeners."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make(home) / _SERVER)
    return context


def client_context(home: Path) -> ssl.SSLContext:
    """Returns a TLS context that trusts the twin only."""
    return ssl.create_default_context(cafile=str(make(home) / AUTHORITY))


def bundle(home: Path) -> Path:
    """Writes a file with the authorities that this shell trusts, and the twin's; returns its path.

    Contains each authority once: Python's clients read the whole file for every connection that they open.
    """
    folder = make(home)
    paths = [path for path in _trusted() if folder not in path.parents] + [folder / AUTHORITY]
    found = [each for path in paths for each in _CERTIFICATE.findall(path.read_text(errors="replace"))]
    write_atomic(folder / BUNDLE, "".join(f"{each}\n" for each in dict.fromkeys(found)))
    return folder / BUNDLE


def _trusted() -> list[Path]:
    """Returns the files of authorities: those that the environment names, OpenSSL's own, and certifi's."""
    names = [os.environ.get(name, "") for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    names.append(ssl.get_default_verify_paths().openssl_cafile)
    with suppress(ImportError):
        import certifi

        names.append(certifi.where())
    return [Path(name) for name in names if name and Path(name).is_file()]
