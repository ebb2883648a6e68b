"""A TPM for tests: `swtpm` as a process of its own, and what a device's software asks of a TPM.

    with running_tpm(tmp_path) as tpm:
        device = TpmDevice(tpm)                   # its endorsement key and its storage root key, as the SDKs make them
        device.endorsement_key, device.storage_root_key          # each a TPM2B_PUBLIC
        device.activate(blob)                     # take in a key that the provisioning service sent
        device.sign(b"...")                       # HMAC with it

    with simulator(tpm, "127.0.0.1") as port: ...  # for SDKs that bring such software of their own

Commands are written as in part 3 of the TPM 2.0 Library. Nothing is installed by a test: where `swtpm` is missing, the
tests that need one are skipped and say how to get it.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

__all__ = [
    "ECC_STORAGE",
    "RSA_STORAGE",
    "Tpm",
    "TpmDevice",
    "TpmError",
    "needed_swtpm",
    "running_tpm",
    "simulator",
    "take_apart",
]

_INSTALL: Final = "sudo apt-get install swtpm"
_PATIENCE_S: Final = 60.0

# The simulator's own protocol, around commands.
_SIMULATOR_COMMAND, _SIMULATOR_HELLO, _SIMULATOR_END = 8, 15, 20

# Part 2, 7.4 and 6.11
_OWNER: Final = 0x40000001
_NO_HANDLE: Final = 0x40000007
_PASSWORD: Final = 0x40000009
_ENDORSEMENT: Final = 0x4000000B
_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002
_RSA, _SHA256, _NULL, _AES, _CFB, _ECC = 0x0001, 0x000B, 0x0010, 0x0006, 0x0043, 0x0023

# Part 2, 6.5.2
_EVICT_CONTROL, _CREATE_PRIMARY, _ACTIVATE, _HMAC, _IMPORT, _LOAD = 0x120, 0x131, 0x147, 0x155, 0x156, 0x157
_POLICY_SECRET, _FLUSH, _START_SESSION = 0x151, 0x165, 0x176

# Where the SDKs keep what they made.
_ENDORSEMENT_HANDLE, _STORAGE_HANDLE, _KEY_HANDLE = 0x81010001, 0x81000001, 0x81000100

# TCG EK Credential Profile, B.3.3: PolicySecret(TPM_RH_ENDORSEMENT).
_ENDORSEMENT_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_ENDORSEMENT_ATTRIBUTES: Final = 0x000300B2
_STORAGE_ATTRIBUTES: Final = 0x00030472


def _number(value: int, size: int = 2) -> bytes:
    return value.to_bytes(size, "big")


def _sized(data: bytes) -> bytes:
    return _number(len(data)) + data


def _words(*values: int) -> bytes:
    return b"".join(map(_number, values))


# AES-128 in CFB, no scheme, RSA-2048 with the usual exponent; and the same with P-256.
RSA_STORAGE: Final = (_RSA, _words(_AES, 128, _CFB, _NULL, 2048) + _number(0, 4) + _sized(bytes(256)))
ECC_STORAGE: Final = (_ECC, _words(_AES, 128, _CFB, _NULL, 0x0003, _NULL) + _sized(bytes(32)) + _sized(bytes(32)))


class TpmError(Exception):
    """The TPM says no: `code` is its response code."""

    def __init__(self, command: int, code: int) -> None:
        super().__init__(f"TPM command 0x{command:03X} ended with 0x{code:03X}")
        self.code = code


class Tpm:
    """Commands and responses on one socket."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def exchange(self, command: bytes) -> bytes:
        self._stream.sendall(command)
        header = self._read(10)
        return header + self._read(int.from_bytes(header[2:6], "big") - 10)

    def run(
        self, code: int, handles: Sequence[int], parameters: bytes, *, sessions: Sequence[int] = (), returns: int = 0
    ) -> tuple[list[int], bytes]:
        """The handles, of which it `returns` so many, and the parameters of the response. Raises `TpmError`."""
        authorization = b"".join(_number(each, 4) + _sized(b"") + b"\x01" + _sized(b"") for each in sessions)
        body = b"".join(_number(each, 4) for each in handles)
        body += (_number(len(authorization), 4) + authorization if sessions else b"") + parameters
        tag = _SESSIONS if sessions else _NO_SESSIONS
        answer = self.exchange(_number(tag) + _number(len(body) + 10, 4) + _number(code, 4) + body)
        status = int.from_bytes(answer[6:10], "big")
        if status:
            raise TpmError(code, status)
        answer = answer[10:]
        made = [int.from_bytes(answer[4 * place : 4 * place + 4], "big") for place in range(returns)]
        answer = answer[4 * returns :]
        return made, answer[4 : 4 + int.from_bytes(answer[:4], "big")] if sessions else answer

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._stream.recv(size - len(data))
            if not piece:
                raise ConnectionError("the TPM has gone")
            data += piece
        return data


class TpmDevice:
    """What is done by the part of a provisioning client that speaks with the TPM."""

    def __init__(self, tpm: Tpm, template: tuple[int, bytes] = RSA_STORAGE) -> None:
        self.tpm = tpm
        self.endorsement_key = self._primary(
            _ENDORSEMENT, _ENDORSEMENT_ATTRIBUTES, _ENDORSEMENT_POLICY, template, _ENDORSEMENT_HANDLE
        )
        self.storage_root_key = self._primary(_OWNER, _STORAGE_ATTRIBUTES, b"", template, _STORAGE_HANDLE)
        self._has_key = False

    def activate(self, blob: bytes) -> None:
        """Take in the key: the one that was there before is gone. Raises `TpmError`."""
        credential, secret, private, seed, public, _ = take_apart(blob)
        run = self.tpm.run
        (session,), _ = run(
            _START_SESSION,
            [_NO_HANDLE, _NO_HANDLE],
            _sized(bytes(range(20))) + _sized(b"") + b"\x01" + _words(_NULL, _SHA256),
            returns=1,
        )
        run(_POLICY_SECRET, [_ENDORSEMENT, session], _sized(b"") * 3 + _number(0, 4), sessions=[_PASSWORD])
        try:
            _, opened = run(
                _ACTIVATE,
                [_STORAGE_HANDLE, _ENDORSEMENT_HANDLE],
                _sized(credential) + _sized(secret),
                sessions=[_PASSWORD, session],
            )
        finally:
            run(_FLUSH, [], _number(session, 4))
        symmetric = _words(_AES, 128, _CFB)
        pieces = opened + _sized(public) + _sized(private) + _sized(seed) + symmetric
        _, imported = run(_IMPORT, [_STORAGE_HANDLE], pieces, sessions=[_PASSWORD])
        (key,), _ = run(_LOAD, [_STORAGE_HANDLE], imported + _sized(public), sessions=[_PASSWORD], returns=1)
        if self._has_key:
            run(_EVICT_CONTROL, [_OWNER, _KEY_HANDLE], _number(_KEY_HANDLE, 4), sessions=[_PASSWORD])
        run(_EVICT_CONTROL, [_OWNER, key], _number(_KEY_HANDLE, 4), sessions=[_PASSWORD])
        self._has_key = True
        run(_FLUSH, [], _number(key, 4))

    def sign(self, data: bytes) -> bytes:
        """HMAC-SHA256 with the key that was taken in last."""
        _, answer = self.tpm.run(_HMAC, [_KEY_HANDLE], _sized(data) + _number(_SHA256), sessions=[_PASSWORD])
        return answer[2:]

    def _primary(
        self, hierarchy: int, attributes: int, policy: bytes, template: tuple[int, bytes], handle: int
    ) -> bytes:
        kind, details = template
        public = _words(kind, _SHA256) + _number(attributes, 4) + _sized(policy) + details
        parameters = _sized(_sized(b"") * 2) + _sized(public) + _sized(b"") + _number(0, 4)
        (made,), answer = self.tpm.run(_CREATE_PRIMARY, [hierarchy], parameters, sessions=[_PASSWORD], returns=1)
        self.tpm.run(_EVICT_CONTROL, [_OWNER, made], _number(handle, 4), sessions=[_PASSWORD])
        self.tpm.run(_FLUSH, [], _number(made, 4))
        return answer[: 2 + int.from_bytes(answer[:2], "big")]


def take_apart(blob: bytes) -> list[bytes]:
    """The six pieces of what the service sends, without their sizes."""
    pieces = []
    while blob:
        size = int.from_bytes(blob[:2], "big")
        pieces.append(blob[2 : 2 + size])
        assert len(pieces[-1]) == size, "a piece is shorter than its size says"
        blob = blob[2 + size :]
    assert len(pieces) == 6
    return pieces


def needed_swtpm() -> str:
    """The path of `swtpm`; the test that calls is skipped where there is none."""
    path = shutil.which("swtpm")
    if path is None:
        pytest.skip(f"needs a TPM: {_INSTALL}")
    return path


@contextmanager
def running_tpm(folder: Path) -> Iterator[Tpm]:
    """A TPM with its state below `folder`; a fresh one where the folder is empty."""
    program = needed_swtpm()
    state = folder / "tpm"
    state.mkdir(parents=True, exist_ok=True)
    ours, theirs = socket.socketpair()
    ours.settimeout(_PATIENCE_S)
    with ours, (folder / "tpm.log").open("ab") as log:
        with theirs:
            process = subprocess.Popen(
                [
                    *(program, "socket", "--tpm2", "--flags", "not-need-init,startup-clear"),
                    *("--tpmstate", f"dir={state}", "--fd", str(theirs.fileno())),
                ],
                pass_fds=[theirs.fileno()],
                stdout=log,
                stderr=log,
            )
        try:
            yield Tpm(ours)
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)


@contextmanager
def simulator(tpm: Tpm, host: str) -> Iterator[int]:
    """The two ports of Microsoft's TPM simulator, which SDKs dial: commands, and beside it the platform's; the first.

    A program after the other; what it says of power is answered and does nothing.
    """
    commands, platform = _two_ports(host)
    ending = threading.Event()
    with commands, platform:
        threads = [
            threading.Thread(target=_serve, args=(each, tpm if each is commands else None, ending))
            for each in (commands, platform)
        ]
        for thread in threads:
            thread.start()
        try:
            yield commands.getsockname()[1]
        finally:
            ending.set()
            for each in (commands, platform):
                socket.create_connection(each.getsockname(), _PATIENCE_S).close()
            for thread in threads:
                thread.join(_PATIENCE_S)


def _two_ports(host: str) -> tuple[socket.socket, socket.socket]:
    """Listening, side by side."""
    for _ in range(100):
        first = socket.create_server((host, 0))
        try:
            return first, socket.create_server((host, first.getsockname()[1] + 1))
        except OSError:
            first.close()
    raise OSError(f"{host} has no two free ports side by side")


def _serve(listener: socket.socket, tpm: Tpm | None, ending: threading.Event) -> None:
    while True:
        peer, _ = listener.accept()
        if ending.is_set():
            peer.close()
            return
        with peer, peer.makefile("rb") as said:
            while len(head := said.read(4)) == 4:
                code = int.from_bytes(head, "big")
                if code == _SIMULATOR_END:
                    break
                if code == _SIMULATOR_HELLO:
                    said.read(4)
                    peer.sendall(_number(1, 4) + _number(0, 4))
                elif code == _SIMULATOR_COMMAND and tpm is not None:
                    size = int.from_bytes(said.read(5)[1:], "big")
                    answer = tpm.exchange(said.read(size))
                    peer.sendall(_number(len(answer), 4) + answer)
                peer.sendall(_number(0, 4))
