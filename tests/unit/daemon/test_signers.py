"""The settings of signers become keys that verify and sign; what cannot be a key is refused in one line."""

import base64
from pathlib import Path

import pytest

from daemon.commands.settings import masked
from daemon.settings_file import SettingsRefused, read_settings
from daemon.signers import sending_key, trusted_signers
from feedback.signing import Algorithm, SignatureRefused, SignedFields, SigningKey, public_key_of
from tests.unit.feedback.event_builder import IDENTITY

SECRET = base64.b64encode(b"s" * 32).decode()
PUBLIC = base64.b64encode(public_key_of(b"s" * 32)).decode()
FIELDS = SignedFields(
    id="1",
    source="ide",
    type="clorad.correction.v1",
    time=None,
    key=None,
    rights=None,
    form="bytes",
    data=b"{}",
)


def settings_of(tmp_path: Path, signer: str, sign_as: str = ""):
    file = tmp_path / "clorad.toml"
    head = f'[feedback]\nsign_as = "{sign_as}"\n' if sign_as else ""
    file.write_text(f'{head}[feedback.signers.ide-1]\nsources = ["ide"]\n{signer}\n')
    return read_settings(file)


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "ed25519"])
def test_what_is_signed_with_a_secret_of_the_settings_is_believed(tmp_path: Path, algorithm: str) -> None:
    settings = settings_of(tmp_path, f'algorithm = "{algorithm}"\nsecret = "{SECRET}"', sign_as="ide-1")
    key = sending_key(settings.feedback)
    assert key is not None
    extensions = key.extensions(FIELDS)
    signers = trusted_signers(settings.feedback, IDENTITY)
    assert signers.check(FIELDS, extensions["cloradsigner"], extensions["cloradsignature"])


def test_a_public_key_is_enough_to_verify(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f'algorithm = "ed25519"\npublic_key = "{PUBLIC}"')
    extensions = SigningKey(id="ide-1", algorithm=Algorithm.ED25519, secret=b"s" * 32).extensions(FIELDS)
    signers = trusted_signers(settings.feedback, IDENTITY)
    assert signers.check(FIELDS, "ide-1", extensions["cloradsignature"])
    with pytest.raises(SignatureRefused):
        signers.check(FIELDS, "ide-1", base64.b64encode(b"x" * 64).decode())


@pytest.mark.parametrize(
    ("signer", "expected"),
    [
        ("", "hmac-sha256 needs `secret`"),
        (f'secret = "{SECRET}"\npublic_key = "{PUBLIC}"', "no `public_key`"),
        ('secret = "c2hvcnQ="', "32 bytes or more"),
        ('secret = "not base64"', "must be base64"),
        ('algorithm = "ed25519"', "ed25519 needs `public_key`"),
        (f'algorithm = "ed25519"\nsecret = "{SECRET}"\npublic_key = "{PUBLIC}"', "ed25519 needs"),
        (f'algorithm = "ed25519"\npublic_key = "{base64.b64encode(b"p" * 33).decode()}"', "32 bytes"),
        (f'secret = "{SECRET}"\nrights = ["rule"]', "act"),
        ('algorithm = "md5"', "hmac-sha256"),
    ],
)
def test_what_cannot_be_a_key_is_refused_without_repeating_it(
    tmp_path: Path, signer: str, expected: str
) -> None:
    with pytest.raises(SettingsRefused) as refused:
        settings_of(tmp_path, signer)
    assert expected in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_who_signs_must_be_a_signer_with_a_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match="sign_as must be one of signers"):
        settings_of(tmp_path, f'secret = "{SECRET}"', sign_as="other")
    with pytest.raises(SettingsRefused, match="with its secret"):
        settings_of(tmp_path, f'algorithm = "ed25519"\npublic_key = "{PUBLIC}"', sign_as="ide-1")


def test_nobody_but_the_ledger_is_the_gateway(tmp_path: Path) -> None:
    file = tmp_path / "clorad.toml"
    file.write_text(f'[feedback.signers.gateway]\nsources = ["*"]\nsecret = "{SECRET}"\n')
    with pytest.raises(SettingsRefused, match="is not `gateway`"):
        read_settings(file)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f'secret = "{SECRET}"')
    assert SECRET not in str(masked(settings))
    assert SECRET not in repr(settings)
