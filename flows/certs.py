"""Certificates for encrypted Dask connections: one authority, one pair for each role.

Whoever connects must show a certificate signed by the same authority; without one nobody can
send work. Dask does not compare host names, so one set serves a whole cluster: keep its private
keys as you keep a password.
"""

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from distributed.security import Security

from irrev.errors import ConfigError

ROLES = ("scheduler", "worker", "client")
CURVE = ec.SECP256R1()
Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def make_certificates(folder: Path, *, days: int = 365) -> None:
    """Write `ca.pem` and, for each role, `ROLE.pem` and `ROLE.key` into a private folder.

    The authority's own key is not kept: nobody can sign further certificates later.

    Raises
    ------
    ConfigError
        If the folder holds certificates already, or cannot be written.
    """
    if (folder / "ca.pem").exists():
        raise ConfigError(
            f"{folder}: holds certificates already; choose another folder, or remove it first."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        authority = _authority(days)
        _write(folder / "ca.pem", _pem(authority[0]))
        for role in ROLES:
            certificate, key = _member(role, authority, days)
            _write(folder / f"{role}.pem", _pem(certificate))
            _write(folder / f"{role}.key", _private(key))
    except OSError as error:
        raise ConfigError(f"{folder}: certificates cannot be written there: {error}.") from None


def security(folder: Path) -> Security:
    """Return Dask's settings for the certificates in a folder; plain connections are refused.

    Raises
    ------
    ConfigError
        If a file is missing or a certificate has expired.
    """
    missing = [n for n in ("ca.pem", "client.pem", "client.key") if not (folder / n).is_file()]
    if missing:
        raise ConfigError(
            f"compute.tls: {folder} has no {missing[0]}; make the folder with "
            "`python -m flows certs`."
        )
    for name in ("ca.pem", "client.pem"):
        end = x509.load_pem_x509_certificate((folder / name).read_bytes()).not_valid_after_utc
        if end < dt.datetime.now(dt.UTC):
            raise ConfigError(
                f"compute.tls: {folder / name} expired on {end:%Y-%m-%d}; make new certificates "
                "with `python -m flows certs` and restart scheduler and workers."
            )
    files: dict[str, str] = {"tls_ca_file": str(folder / "ca.pem")}
    for role in ROLES:
        if (folder / f"{role}.key").is_file():
            files[f"tls_{role}_cert"] = str(folder / f"{role}.pem")
            files[f"tls_{role}_key"] = str(folder / f"{role}.key")
    return Security(require_encryption=True, **files)


@contextmanager
def passing(parent: Path) -> Iterator[Path]:
    """Make certificates that last as long as the block, in a private folder below `parent`."""
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="tls-", dir=parent) as folder:
        make_certificates(Path(folder), days=30)
        yield Path(folder)


def _authority(days: int) -> Pair:
    key = ec.generate_private_key(CURVE)
    name = _name("irrev authority")
    builder = (
        _builder(name, key.public_key(), days)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()), key


def _member(role: str, authority: Pair, days: int) -> Pair:
    issuer, issuer_key = authority
    key = ec.generate_private_key(CURVE)
    # workers and schedulers both call and are called
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(_name(f"irrev {role}"), key.public_key(), days)
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    return builder.sign(issuer_key, hashes.SHA256()), key


def _builder(
    name: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=10))  # clocks differ between machines
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first moment on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
