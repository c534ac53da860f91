"""One set of authorities serves all clients, and it refuses who they do not vouch for."""

import ssl

import pytest

from serving.certificates import authorities


def test_clients_share_what_was_loaded() -> None:
    assert authorities() is authorities()


def test_a_server_must_show_a_certificate_of_its_name() -> None:
    assert authorities().verify_mode is ssl.CERT_REQUIRED
    assert authorities().check_hostname


def test_the_environment_adds_no_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    authorities.cache_clear()
    assert authorities().get_ca_certs()
