"""The certificates of public authorities, loaded once for each process.

httpx loads them for each client: 20 ms of processor time, also for a client that only speaks plain HTTP. A
fleet has a client for each replica, and each scorer on a server has one.
"""

import functools
import ssl

import httpx


@functools.cache
def authorities() -> ssl.SSLContext:
    """What httpx trusts by itself; settings in the environment (SSL_CERT_FILE) do not change it."""
    return httpx.create_ssl_context(trust_env=False)
