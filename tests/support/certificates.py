"""Certificates for tests, made by the program `openssl`."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """Signs certificates."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The file of its own certificate."""
        return self.folder / "ca.pem"

    def sign(self, name: str, alternatives: str) -> Signed:
        """Make a certificate for `alternatives`, such as `IP:127.0.0.1,DNS:localhost`."""
        certificate, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternatives}\nauthorityKeyIdentifier=keyid\n")
        _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl(
            *("x509", "-req", "-days", "2", "-in", request, "-CA", self.ca, "-out", certificate),
            *("-CAkey", self.folder / "ca.key", "-CAcreateserial", "-extfile", extensions),
        )
        return Signed(certificate, key)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def new_authority(folder: Path, name: str = "tests") -> Authority:
    """Make one whose files lie in `folder`."""
    folder.mkdir()
    made = Authority(folder)
    _openssl(
        *("req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),  # Python 3.13 asks for it
        *("-keyout", folder / "ca.key", "-out", made.ca),
    )
    return made


@dataclass(frozen=True)
class Certificates:
    """Those that an honest server and host have."""

    ca: Path
    """Who signed both."""
    server: Signed
    """For 127.0.0.1."""
    host: Signed


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of a server on this machine and of a host."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl")
    authority = new_authority(tmp_path_factory.mktemp("certificates") / "authority")
    server = authority.sign("server", "IP:127.0.0.1,DNS:localhost")
    return Certificates(authority.ca, server, authority.sign("host", "DNS:host"))
