"""A server's certificate: TLS 1.3, and none that has expired."""

from __future__ import annotations

import ssl
from pathlib import Path

from strongroom.errors import UsageError

_EXPIRED, _NOT_YET = 10, 9
"""X509_V_ERR_CERT_HAS_EXPIRED and X509_V_ERR_CERT_NOT_YET_VALID."""


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """What a server greets its callers with.

    Raises:
        UsageError: The certificate or its key cannot be used, or is not of this time.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        made.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(f"the certificate or its key cannot be used ({type(error).__name__})") from None
    refuse_expired(made, certificate)
    return made


def refuse_expired(server: ssl.SSLContext, certificate: Path) -> None:
    """Greet a server within this process, as a client that trusts its certificate would.

    Raises:
        UsageError: The certificate is not of this time.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed it is for the callers to judge
    client.load_verify_locations(certificate)
    sent, received = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = server.wrap_bio(sent, received, server_side=True)
    two = client.wrap_bio(received, sent)
    for _ in range(4):
        for side in (two, one):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                if error.verify_code in {_EXPIRED, _NOT_YET}:
                    when = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
                    problem = f"the certificate {certificate} {when}"
                    raise UsageError(problem, hint="give the server a new one") from None
                return
            except ssl.SSLError:
                return
