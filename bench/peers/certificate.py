"""A certificate for one run, signed by itself: P-256, for localhost.

Knows: two ways to make one, the package cryptography (which aioquic brings) and the command openssl.
Refuses to know: who uses it. Clients don't verify it, none of them, so that all do the same.
"""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["make"]


def make(folder: Path) -> tuple[str, str]:
    """Paths of certificate and key in `folder`, empty where nothing can make them."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    try:
        _by_cryptography(certificate, key)
    except ImportError:
        openssl = shutil.which("openssl")
        if openssl is None:
            return "", ""
        command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days"]
        command += ["2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key)]
        subprocess.run([*command, "-out", str(certificate)], check=True, capture_output=True, timeout=60)
    return str(certificate), str(key)


def _by_cryptography(certificate: Path, key: Path) -> None:
    x509: Any = import_module("cryptography.x509")
    hashes: Any = import_module("cryptography.hazmat.primitives.hashes")
    serialization: Any = import_module("cryptography.hazmat.primitives.serialization")
    ec: Any = import_module("cryptography.hazmat.primitives.asymmetric.ec")
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    certificate.write_bytes(signed.public_bytes(encoding))
    pem = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(encoding, pem, serialization.NoEncryption()))
